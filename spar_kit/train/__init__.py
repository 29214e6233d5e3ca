"""A small vision-language model or one of the hub, trained in stages; QLoRA; resumable."""
import logging

# Where the processor has AVX512-BF16, bitsandbytes asks at its import for a package that would fetch code from a hub, and warns that it is
# absent; its own kernel then does the work. transformers and PEFT import bitsandbytes when they please, so this stands before all of them.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
