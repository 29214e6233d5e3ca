"""Whether a text says what is true: values and relations."""
