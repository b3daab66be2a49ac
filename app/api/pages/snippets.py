"""How a program asks this proxy: snippets to copy, with its own address."""

from __future__ import annotations

import json
import shlex
from typing import NamedTuple

from fastapi import Request


class Snippet(NamedTuple):
    title: str
    text: str


def address(request: Request) -> str:
    """The API's base URL, as the one who looks reaches this proxy."""
    return f"{request.url.scheme}://{request.headers.get('host', request.url.netloc)}/v1"


def snippets(request: Request, model: str, *, has_key: bool) -> list[Snippet]:
    """The same call by curl and by OpenAI's SDK; `has_key`: whether the API asks for one."""
    base = address(request)
    body = {"model": model, "messages": [{"role": "user", "content": "What is 12 + 30?"}], "routing": {"tradeoff": 0.3}}
    key = ' \\\n  -H "authorization: Bearer $HULLSPEED_API_KEY"' if has_key else ""
    curl = (
        f"curl -i {shlex.quote(f'{base}/chat/completions')} -H 'content-type: application/json'{key} \\\n"
        f"  -d {shlex.quote(json.dumps(body, ensure_ascii=False))}"
    )
    api_key = 'os.environ["HULLSPEED_API_KEY"]' if has_key else '"none"'
    python = (
        f"{'import os' + chr(10) * 2 if has_key else ''}from openai import OpenAI\n\n"
        f"client = OpenAI(base_url={json.dumps(base)}, api_key={api_key})\n"
        "reply = client.chat.completions.create(\n"
        f"    model={json.dumps(model, ensure_ascii=False)},\n"
        '    messages=[{"role": "user", "content": "What is 12 + 30?"}],\n'
        '    extra_body={"routing": {"tradeoff": 0.3}},\n'
        ")\n"
        "print(reply.model, reply.choices[0].message.content)"
    )
    return [Snippet("curl", curl), Snippet("Python, OpenAI SDK", python)]
