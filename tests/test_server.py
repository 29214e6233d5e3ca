"""A benchmark asked of a real HTTP server that misbehaves in every way: nothing is lost, nothing is
asked twice, nothing is wrong in silence."""

import base64
import io
import json
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import orjson
import pytest
from PIL import Image

pytest.importorskip("openai")

from spar_kit.bench.benchmarks import Benchmark
from spar_kit.bench.models import client as c
from spar_kit.bench.models import server as s
from spar_kit.bench.predictions import read_partial_predictions
from spar_kit.bench.prompts import apply_image_mode, official_prompt
from spar_kit.data.question import Question

KEY = "sk-secret-0123456789abcdef"


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def completion(text, finish="stop"):
    return json.dumps(
        {
            "id": "x",
            "object": "chat.completion",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": text},
                    "finish_reason": finish,
                }
            ],
            "usage": {"prompt_tokens": 420, "completion_tokens": 3, "total_tokens": 423},
        }
    ).encode()


class Host:
    """A server on this machine. `plan(k, n)` says how it takes the n-th request for chair k; it
    counts what it was asked and what it answered in full."""

    def __init__(self, plan):
        self.asked = Counter()
        self.answered = Counter()
        self.times = []
        self.bodies = []
        self.most = 0
        self.now = 0
        self.lock, self.over, host = threading.Lock(), threading.Event(), self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                host.serve(self, plan)

            def log_message(self, *words):
                pass

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

            def handle_error(self, request, address):
                pass  # the client hung up first, as it should after a timeout

        self.httpd = Quiet(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.httpd.server_port}/v1"
        threading.Thread(target=self.httpd.serve_forever, args=(0.02,), daemon=True).start()

    def serve(self, handler, plan):
        body = json.loads(handler.rfile.read(int(handler.headers["content-length"])))
        k = int(re.search(r"chair (\d+)", body["messages"][0]["content"][-1]["text"])[1])
        with self.lock:
            self.asked[k] += 1
            n = self.asked[k]
            self.now = self.now + 1
            self.most = max(self.most, self.now)
            self.times.append((k, time.monotonic()))
            self.bodies.append(
                (body, {name.lower(): value for name, value in handler.headers.items()})
            )
        try:
            self.reply(handler, plan(k, n), k)
        finally:
            with self.lock:
                self.now -= 1

    def reply(self, handler, mood, k):
        full = completion(f"{k}.5")
        status = 200
        headers = {}
        if isinstance(mood, tuple):
            status, headers, full = mood
            mood = "as told"
        full = {
            "half": full[:40],
            "empty choices": b'{"choices": []}',
            "null": completion(None),
            "huge": completion("7 " * 500_000),
            "not json": b"<html>Bad gateway</html>",
            "list": b"[1, 2]",
            "deep": b"[" * 100_000,
            "cut": completion("It is about", "length"),
            "reasoned": completion("", "length"),
            "empty": completion(""),
        }.get(mood, full)
        if mood == "never":
            self.over.wait(20)
            return
        handler.send_response(status)
        for name, value in {
            "Content-Type": "application/json",
            **headers,
            "Content-Length": str(len(full)),
        }.items():
            handler.send_header(name, value)
        handler.end_headers()
        if mood == "hangs up":
            handler.wfile.write(full[:40])
            handler.close_connection = True
            return
        if mood == "drips":
            for byte in full:
                handler.wfile.write(bytes([byte]))
                self.over.wait(0.04)
            return
        # counted first: the client may be done before this thread runs again
        if mood == "fine":
            with self.lock:
                self.answered[k] += 1
        handler.wfile.write(full)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.over.set()
        self.httpd.shutdown()
        self.httpd.server_close()


def picture():
    return [Image.linear_gradient("L").convert("RGB").resize((64, 48))]


def chairs(count, task="depth_prediction_oc", format="fill"):
    return [
        Question(
            id=str(k),
            task=task,
            format=format,
            source="made-up",
            scene=f"room{k % 3}",
            text=f"How deep is chair {k}?",
            answer=f"{k}.5",
            images=(lambda: picture()[0],),
        )
        for k in range(count)
    ]


def asked(host, items, out, said=None, **options):
    options = {"concurrency": 4, "timeout": 20, "tries": 3, "wait": 0.01, **options}
    s.request_predictions(
        items,
        out,
        s.Server(model="a-model", url=host.url, **options),
        say=(said if said is not None else []).append,
        progress=False,
    )
    return read_partial_predictions(out)


MOODS = [
    "fine",
    (429, {"Retry-After": "0"}, b'{"error": {"message": "busy"}}'),
    (500, {}, b"oh"),
    "half",
    "hangs up",
    "empty choices",
    "null",
    "not json",
    "list",
    (503, {}, b""),
    "deep",
    (200, {}, b'{"error": {"message": "overloaded"}}'),
]


def test_whatever_it_does_every_item_ends_answered_or_failed_and_none_is_answered_twice(tmp_path):
    items = chairs(2 * len(MOODS))
    out = tmp_path / "o.jsonl"
    with Host(
        lambda k, n: MOODS[k % len(MOODS)] if n <= 2 + 3 * (k >= len(MOODS)) else "fine"
    ) as host:
        rows = asked(host, items, out)
        assert [row["id"] for row in rows] == [item.id for item in items]
        failed = [int(row["id"]) for row in rows if row.get("failed")]
        assert failed == list(range(len(MOODS) + 1, 2 * len(MOODS))) and all(
            row["prediction"] is None for row in rows if row.get("failed")
        )
        assert all("3 attempts" in row["failed"] for row in rows if row.get("failed"))
        assert host.answered == Counter({k: 1 for k in range(len(items)) if k not in failed})
        # a second run asks what failed, a third one nothing
        for _ in range(2):
            rows = asked(host, items, out)
            assert [row["prediction"] for row in rows] == [
                f"{k}.5" for k in range(len(items))
            ] and not any("failed" in row for row in rows)
            assert host.answered == Counter({k: 1 for k in range(len(items))})
        assert host.asked[0] == 1 and host.asked[1] == 3 and host.asked[len(MOODS) + 1] == 6


def test_a_cut_file_is_completed_and_only_what_is_missing_is_asked(tmp_path):
    items = chairs(12)
    out = tmp_path / "o.jsonl"
    with Host(lambda k, n: "fine") as host:
        whole = out.read_bytes() if asked(host, items, out) else b""
        out.write_bytes(whole[: len(whole) // 2])
        kept = whole[: len(whole) // 2].count(b"\n")
        asked(host, items, out)
        assert sum(host.asked.values()) == 24 - kept and 0 < kept < 12
        assert [row["prediction"] for row in read_partial_predictions(out)] == [
            f"{k}.5" for k in range(12)
        ]


def test_a_killed_run_goes_on_and_asks_again_only_what_was_under_way(tmp_path):
    out = tmp_path / "o.jsonl"
    count = 60
    code = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1]); import test_server"
        f" as t\nt.s.request_predictions(t.chairs({count}), sys.argv[3],"
        " t.s.Server(model='a-model',"
        " url=sys.argv[2], concurrency=4), progress=False)"
    )

    def slowly(k, n):
        time.sleep(0.05)
        return "fine"

    with Host(slowly) as host:
        running = subprocess.Popen(
            [sys.executable, "-c", code, str(Path(__file__).parent), host.url, str(out)],
            stdout=subprocess.DEVNULL,
        )
        while running.poll() is None and sum(host.asked.values()) < 20:
            time.sleep(0.01)
        running.kill()
        assert running.wait() == -9
        before = read_partial_predictions(out)
        first = Counter(host.asked)
        assert 8 <= len(before) < count
        rows = asked(host, chairs(count), out)
    assert [(row["id"], row["prediction"]) for row in rows] == [
        (str(k), f"{k}.5") for k in range(count)
    ]
    again = {k for k in first if host.asked[k] > first[k]}
    assert (
        again == {k for k in first if str(k) not in {row["id"] for row in before}}
        and len(again) <= 4
    )


def test_a_server_that_never_replies(tmp_path):
    with Host(lambda k, n: "never" if k == 2 else "fine") as host:
        rows = asked(host, chairs(4), tmp_path / "o.jsonl", timeout=0.3, tries=2)
    # on a busy machine another item may be late, too; it is retried or recorded like any other
    assert (
        "no reply within 0.3 s" in rows[2]["failed"]
        and host.asked[2] == 2
        and all(row["prediction"] or row["failed"] for row in rows)
    )


def test_a_drip_does_not_hold_a_thread(tmp_path):
    with Host(lambda k, n: "drips") as host:
        (row,) = asked(host, chairs(1), tmp_path / "o.jsonl", timeout=0.3, tries=1)
    assert (
        re.search("no (complete )?reply within 0.3 s", row["failed"]) and host.answered == Counter()
    )


def test_it_waits_as_long_as_it_is_told_and_so_do_the_others(tmp_path):
    with Host(
        lambda k, n: (429, {"Retry-After": "1"}, b"{}") if (k, n) == (0, 1) else "fine"
    ) as host:
        rows = asked(host, chairs(6), tmp_path / "o.jsonl", concurrency=1)
    assert all(row["prediction"] for row in rows) and rows[0]["tries"] == 2
    first, second = [at for k, at in host.times if k == 0]
    assert second - first >= 1 and not [k for k, at in host.times if first < at < first + 1]


def test_a_wait_that_is_too_long_is_a_failure(tmp_path):
    with Host(lambda k, n: (429, {"Retry-After": "3600"}, b"{}") if k == 1 else "fine") as host:
        rows = asked(host, chairs(2), tmp_path / "o.jsonl", concurrency=1, longest_wait=5)
    assert "asked to wait for 60 min" in rows[1]["failed"] and host.asked[1] == 1


def test_huge_texts(tmp_path, monkeypatch):
    with Host(lambda k, n: "huge" if k == 0 else "fine") as host:
        rows = asked(host, chairs(3), tmp_path / "o.jsonl")
        assert len(rows[0]["prediction"]) == 1_000_000 and rows[1]["prediction"] == "1.5"
        monkeypatch.setattr(c, "MAX_REPLY_BYTES", 100_000)
        rows = asked(host, chairs(3), tmp_path / "p.jsonl")
    assert "longer than" in rows[0]["failed"] and rows[2]["prediction"] == "2.5"


def test_an_empty_answer_is_asked_again_and_used_up_tokens_are_not(tmp_path):
    moods = ["empty", "reasoned", "cut"]
    with Host(lambda k, n: moods[k]) as host:
        empty, reasoned, cut = asked(host, chairs(3), tmp_path / "o.jsonl", tries=2)
        assert (
            empty["prediction"] is None
            and "no text" in empty["failed"]
            and host.asked[1] == 1
            and empty["tries"] == 2
        )
    assert (
        reasoned["prediction"] is None
        and "allow more new tokens" in reasoned["failed"]
        and cut["finish"] == "length"
    )


def test_what_is_sent(tmp_path):
    items = chairs(1, "position_matching", "select")
    with Host(lambda k, n: "fine") as host:
        asked(host, items, tmp_path / "o.jsonl")
        asked(
            host,
            apply_image_mode(items, "none"),
            tmp_path / "p.jsonl",
            body={"max_tokens": None, "max_completion_tokens": 9, "chat_template_kwargs": {"a": 1}},
        )
    (body, headers), (blind, _) = host.bodies
    image, text = body["messages"][0]["content"]
    kind, data = image["image_url"]["url"].split(",")
    got = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))), int)
    assert kind == "data:image/jpeg;base64" and abs(got - np.asarray(picture()[0], int)).max() <= 4
    assert (
        text == {"type": "text", "text": official_prompt(items[0])}
        and headers["authorization"] == f"Bearer {KEY}"
    )
    assert (body["model"], body["max_tokens"], body["temperature"]) == ("a-model", 100, 0) and not {
        "n",
        "stream",
    } & body.keys()
    assert (
        len(blind["messages"][0]["content"]) == 1
        and "max_tokens" not in blind
        and blind["max_completion_tokens"] == 9
        and blind["chat_template_kwargs"] == {"a": 1}
    )


def test_frames_of_a_video_are_numbered_and_pictures_made_smaller():
    item = Question(
        id="0",
        task="room_size",
        format="fill",
        scene="",
        text="How large?",
        answer="9",
        images=(lambda: picture()[0],) * 12,
    )
    content = c.request_body(item, s.Server(model="m", image_side=32, image_format="png"))[
        "messages"
    ][0]["content"]
    assert [part["text"] for part in content if part["type"] == "text"][:12] == [
        f"Frame-{k}: " for k in range(12)
    ] and len(content) == 25
    shown = Image.open(io.BytesIO(base64.b64decode(content[1]["image_url"]["url"].split(",")[1])))
    assert shown.size == (32, 24) and shown.format == "PNG"


def test_no_more_at_once_and_no_faster_than_allowed(tmp_path):
    with Host(lambda k, n: "fine") as host:
        asked(host, chairs(24), tmp_path / "o.jsonl", concurrency=3, per_minute=2400)
    times = sorted(at for _, at in host.times)
    assert host.most <= 3 and times[-1] - times[0] >= 23 * 0.025 - 0.02 and len(times) == 24


def test_the_key_is_in_no_file_and_no_message(tmp_path, capsys):
    said = []
    with Host(
        lambda k, n: (
            (400, {}, json.dumps({"error": {"message": f"bad key {KEY}"}}).encode())
            if k
            else "fine"
        )
    ) as host:
        rows = asked(host, chairs(3), tmp_path / "o.jsonl", said)
    # a refusal is not asked again at once
    assert "bad key ***" in rows[1]["failed"] and host.asked[1] == 1
    everything = (
        b"".join(path.read_bytes() for path in tmp_path.rglob("*"))
        + "".join([*said, *capsys.readouterr()]).encode()
    )
    assert KEY.encode() not in everything
    with (
        Host(
            lambda k, n: (401, {}, json.dumps({"error": {"message": f"bad key {KEY}"}}).encode())
        ) as host,
        pytest.raises(s.ServerError, match="OPENAI_API_KEY") as error,
    ):
        asked(host, chairs(3), tmp_path / "p.jsonl")
    assert KEY not in str(error.value) and max(host.asked.values()) == 1
    assert s._shown("https://me:word@host/v1/?key=1") == "https://host/v1"


def test_no_key_is_said_before_anything_is_sent(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(s.ServerError, match="OPENAI_API_KEY is not set"):
        c.connect(s.Server(model="gpt"))
    with c.connect(s.Server(model="mine", url="http://127.0.0.1:1/v1")) as client:
        assert client.max_retries == 0


def test_credit_that_ends_in_the_middle_stops_the_run_and_keeps_what_was_paid_for(tmp_path):
    out = tmp_path / "o.jsonl"
    items = chairs(24)
    empty = [True]
    spent = (
        429,
        {},
        b'{"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}}',
    )
    with Host(
        lambda k, n: spent if empty and sum(host.answered.values()) >= 10 else "fine"
    ) as host:
        with pytest.raises(s.ServerError, match="no credit"):
            asked(host, items, out)
        assert len(read_partial_predictions(out)) == sum(host.answered.values()) >= 10
        empty.clear()
        rows = asked(host, items, out)
    assert [row["prediction"] for row in rows] == [
        f"{k}.5" for k in range(24)
    ] and host.answered == Counter(range(24))


def test_a_server_that_dies_has_the_rest_recorded_and_a_rerun_asks_it(tmp_path):
    out = tmp_path / "o.jsonl"
    items = chairs(80)
    dead = [True]
    with Host(lambda k, n: (500, {}, b"") if dead and k % 20 else "fine") as host:
        rows = asked(host, items, out, tries=2, concurrency=2)
        late = [row for row in rows if "not asked" in row.get("failed", "")]
        assert (
            len(rows) == 80
            and len(late) > 20
            and not any(host.asked[int(row["id"])] for row in late)
        )
        dead.clear()
        rows = asked(host, items, out)
    assert all(row["prediction"] for row in rows) and host.answered == Counter(range(80))


def test_nobody_there_is_said_after_the_first_handful(tmp_path):
    with Host(lambda k, n: "fine") as host:
        pass
    with pytest.raises(s.ServerError, match="none of the first 8 questions was answered"):
        asked(host, chairs(100), tmp_path / "o.jsonl")
    assert len(read_partial_predictions(tmp_path / "o.jsonl")) == 8


def test_the_estimate_comes_first_and_limits_what_is_spent(tmp_path):
    said = []
    with Host(lambda k, n: "fine") as host:
        s.request_predictions(
            chairs(50),
            tmp_path / "o.jsonl",
            s.Server(model="m", url=host.url, input_price=10, output_price=10),
            dry_run=True,
            say=said.append,
        )
        assert (
            not host.asked
            and not list(tmp_path.iterdir())
            and said
            == [
                "50 questions: roughly 1,288 tokens in, at most 5,000 out, about $0.06, about 14 s"
                " if a reply takes 2 s"
            ]
        )
        with pytest.raises(s.ServerError, match="more than the \\$0.01 allowed"):
            asked(
                host,
                chairs(50),
                tmp_path / "o.jsonl",
                input_price=10,
                output_price=10,
                most_cost=0.01,
            )
        assert not host.asked
        # what the server counts is more than the guess
        with pytest.raises(s.ServerError, match="more than the \\$0.10 allowed"):
            asked(
                host,
                chairs(50),
                tmp_path / "o.jsonl",
                input_price=10,
                output_price=10,
                most_cost=0.1,
            )
        assert sum(host.asked.values()) == 8
        said.clear()
        asked(host, chairs(50), tmp_path / "o.jsonl", said, input_price=10, output_price=10)
    assert host.answered == Counter(range(50))
    assert (
        said[0] == "8 of 50 questions are answered already"
        and "42 questions: roughly" in said[2]
        and "34 questions: 14,280 tokens in, 102 out, about $0.14" in said[3]
    )


def test_missing_images_fail_their_item_alone(tmp_path):
    def broken():
        raise OSError("room/3.jpg: the image is missing")

    items = chairs(9)
    items[3] = Question(
        id="3",
        task="depth_prediction_oc",
        format="fill",
        scene="",
        text="How deep is chair 3?",
        answer="3.5",
        images=(broken,),
    )
    with Host(lambda k, n: "fine") as host:
        rows = asked(host, items, tmp_path / "o.jsonl")
    assert (
        "the images cannot be read: room/3.jpg" in rows[3]["failed"]
        and sum(bool(row["prediction"]) for row in rows) == 8
        and 3 not in host.asked
    )


def test_another_model_or_prompt_does_not_inherit_answers(tmp_path):
    out = tmp_path / "o.jsonl"
    with Host(lambda k, n: "fine") as host:
        asked(host, chairs(3), out)
        asked(host, chairs(3), out, max_new_tokens=50)
    assert (
        host.answered == Counter({0: 2, 1: 2, 2: 2})
        and len(
            orjson.loads(
                f"[{','.join(out.with_name('o.jsonl.previous').read_text().splitlines())}]"
            )
        )
        == 3
    )


def test_settings_that_cannot_be_are_refused():
    for wrong in (
        dict(concurrency=0),
        dict(tries=0),
        dict(timeout=-1),
        dict(per_minute=-5),
        dict(most_cost=1.0),
    ):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            s.Server(model="m", **wrong)


def test_settings_from_words():
    server = c.server_from(
        "m",
        "http://h/v1",
        [
            "concurrency=16",
            "timeout=0.5",
            "input_price=2.5",
            "output_price=10",
            "most_cost=3",
            "image_format=png",
            "body={seed: 1}",
        ],
    )
    assert (
        server.concurrency,
        server.timeout,
        server.most_cost,
        server.image_format,
        dict(server.body),
    ) == (16, 0.5, 3, "png", {"seed": 1})
    assert c.server_from("m", "openai").url is None
    for word in (
        "speed=9",
        "concurrency",
        "concurrency=many",
        "concurrency=1.5",
        "concurrency=true",
        "image_format=gif",
        "body=3",
        "model=x",
        "timeout=[",
        "image_side=0",
    ):
        with pytest.raises(ValueError, match=word.split("=")[0]):
            c.server_from("m", "http://h/v1", [word])


def test_blind_runs_and_the_command_line(tmp_path, capfd):
    from spar_kit.cli.main import main

    folder = tmp_path / "data/spar/synthetic/qa_jsonl/val/depth_prediction_oc/fill"
    folder.mkdir(parents=True)
    (tmp_path / "data/spar/synthetic/images/room0/image_color").mkdir(parents=True)
    picture()[0].save(tmp_path / "data/spar/synthetic/images/room0/image_color/0.png")
    folder.joinpath("fill_3.jsonl").write_bytes(
        b"".join(
            orjson.dumps(
                {
                    "id": f"room0_{k}",
                    "type": "depth_prediction_oc",
                    "image": ["room0/image_color/0.png"],
                    "conversations": [
                        {"from": "human", "value": f"How deep is chair {k}?"},
                        {"from": "gpt", "value": f"{k}.5"},
                    ],
                }
            )
            + b"\n"
            for k in range(3)
        )
    )
    with Host(lambda k, n: "fine") as host, pytest.raises(SystemExit) as leaving:
        main(
            [
                "evaluate",
                "a-model",
                "--api",
                host.url,
                "--data",
                str(tmp_path / "data"),
                "--out",
                str(tmp_path / "run"),
                "--images",
                "original,none",
                "--set",
                "wait=0.01",
            ]
        )
    assert leaving.value.code == 0 and sum(host.asked.values()) == 6
    assert sorted(len(body["messages"][0]["content"]) for body, _ in host.bodies) == [
        1,
        1,
        1,
        2,
        2,
        2,
    ]
    assert [
        row["prediction"]
        for row in read_partial_predictions(tmp_path / "run/predictions_none.jsonl")
    ] == ["0.5", "1.5", "2.5"]
    note = json.loads((tmp_path / "run/run.json").read_text())
    printed = "".join(capfd.readouterr())
    assert (
        "constant" in printed
        and "over all tasks: +" in printed
        and (tmp_path / "run/blind_text.jsonl").is_file()
    ), "answers of no model are laid beside"
    assert (
        note["server"] == host.url
        and note["images"] == ["original", "none"]
        and note["prompt"] == "plain"
    )
    assert (
        "3 questions: roughly" in printed
        and "100.0" in printed
        and KEY not in printed + json.dumps(note)
    )


def chat(message, finish="stop"):
    return (
        200,
        {},
        json.dumps(
            {"choices": [{"message": {"role": "assistant", **message}, "finish_reason": finish}]}
        ).encode(),
    )


@pytest.mark.parametrize(
    "reply",
    [
        chat({"content": ""}),
        chat({"content": "  \n"}),
        chat({"content": "", "reasoning_content": "It is Yes."}),
        chat({"content": ""}, "abort"),
        chat({"content": []}),
        chat({"content": [{"type": "text", "text": ""}]}),
        chat({"content": None, "reasoning": "Yes"}, "length"),
    ],
)
def test_a_reply_without_text_is_never_an_answer(tmp_path, reply):
    with Host(lambda k, n: reply if n == 1 else "fine") as host:
        (row,) = asked(host, chairs(1), tmp_path / "o.jsonl", tries=1)
        assert row["prediction"] is None and "no text" in row["failed"]
        (row,) = asked(host, chairs(1), tmp_path / "o.jsonl", tries=1)
    assert row["prediction"] == "0.5" and host.asked[0] == 2


def test_an_empty_text_of_an_older_run_is_asked_again(tmp_path):
    with Host(lambda k, n: "fine") as host:
        asked(host, chairs(3), tmp_path / "o.jsonl")
        rows = read_partial_predictions(tmp_path / "o.jsonl")
        rows[1]["prediction"] = " "
        (tmp_path / "o.jsonl").write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
        assert [row["prediction"] for row in asked(host, chairs(3), tmp_path / "o.jsonl")] == [
            "0.5",
            "1.5",
            "2.5",
        ]
        assert [host.asked[k] for k in range(3)] == [1, 2, 1]


def test_parts_that_are_texts_are_read():
    from spar_kit.bench.models.client import read_reply

    assert read_reply(chat({"content": ["1.", {"text": "5"}, 7]})[2]).text == "1.5"


@pytest.mark.parametrize(
    "moods, lost",
    [
        (["fine", "fine", "null"], 1),
        (["null"] * 3, 3),
        ([chat({"content": ""}), "fine", "fine"], 1),
        (["fine"] * 3, 0),
    ],
)
def test_a_run_without_all_answers_is_incomplete(tmp_path, capfd, moods, lost):
    from spar_kit.cli.main import main

    folder = tmp_path / "data/spar/synthetic/qa_jsonl/val/depth_prediction_oc/fill"
    folder.mkdir(parents=True)
    (tmp_path / "data/spar/synthetic/images/room0/image_color").mkdir(parents=True)
    picture()[0].save(tmp_path / "data/spar/synthetic/images/room0/image_color/0.png")
    folder.joinpath("fill_3.jsonl").write_bytes(
        b"".join(
            orjson.dumps(
                {
                    "id": f"room0_{k}",
                    "type": "depth_prediction_oc",
                    "image": ["room0/image_color/0.png"],
                    "conversations": [
                        {"from": "human", "value": f"How deep is chair {k}?"},
                        {"from": "gpt", "value": f"{k}.5"},
                    ],
                }
            )
            + b"\n"
            for k in range(3)
        )
    )
    with Host(lambda k, n: moods[k]) as host, pytest.raises(SystemExit) as leaving:
        main(
            [
                "evaluate",
                "a-model",
                "--api",
                host.url,
                "--data",
                str(tmp_path / "data"),
                "--out",
                str(tmp_path / "run"),
                "--set",
                "wait=0.01",
                "--set",
                "tries=2",
            ]
        )
    printed = capfd.readouterr()
    assert leaving.value.code == (3 if lost else 0) and (
        f"{lost} of 3 questions have no answer" in printed.err
    ) == bool(lost)
    note, scores = (
        json.loads((tmp_path / "run" / name).read_text()) for name in ("run.json", "scores.json")
    )
    assert (
        note["complete"] == scores["complete"] == (not lost)
        and note["failed"] == {"original": lost}
        and scores["failed"] == lost
        and scores["scored"] == 3 - lost
    )


def test_a_dead_port_does_not_end_with_0(tmp_path, capfd):
    from spar_kit.cli.main import main

    out = tmp_path / "run"
    items = Benchmark(name="toy", items=tuple(chairs(2)), official=False)
    assert (
        s.request_image_modes(
            s.Server(model="m", url="http://127.0.0.1:9/v1", tries=1),
            items,
            out,
            ["original"],
            progress=False,
        )
        and json.loads((out / "run.json").read_text())["complete"] is False
    )
    with pytest.raises(SystemExit) as leaving:
        main(
            [
                "evaluate",
                "m",
                "--api",
                "http://127.0.0.1:9/v1",
                "--data",
                str(tmp_path / "none"),
                "--out",
                str(out),
            ]
        )
    assert leaving.value.code == 2
