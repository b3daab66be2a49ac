"""nginx, in both of its parts: the provider that answers at once, and the proxy that only passes on."""

from __future__ import annotations

from pathlib import Path

from benchmarks.hop.traffic import reply

_MAIN = """\
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log error;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  keepalive_requests 1000000000;
  keepalive_timeout 1h;
  client_body_buffer_size 64k;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
{server}
}}
"""
_PROVIDER = """\
  server {{
    listen 127.0.0.1:{port} backlog=1024;
    location = /requests {{ stub_status; }}
    location / {{ default_type application/json; return 200 '{reply}'; }}
  }}"""
_PROXY = """\
  upstream provider {{ server {upstream}; keepalive 256; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=1024;
    location / {{
      proxy_pass http://provider;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering {buffering};
    }}
  }}"""


def provider(folder: Path, port: int) -> list[str]:
    """The command of an nginx that answers every request with the same reply and counts them."""
    return _command(folder, _PROVIDER.format(port=port, reply=reply().decode()))


def proxy(folder: Path, port: int, upstream: str, *, streams: bool) -> list[str]:
    """The command of an nginx that passes on to `upstream` (HOST:PORT)."""
    return _command(folder, _PROXY.format(port=port, upstream=upstream, buffering="off" if streams else "on"))


def _command(folder: Path, server: str) -> list[str]:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "nginx.conf"
    file.write_text(_MAIN.format(folder=folder, server=server))
    return ["nginx", "-c", str(file), "-p", str(folder)]
