"""nginx under wrk, and memcached under clients that look at every answer.

Always holds: the servers have sockets of their own; what they answer is compared with what they were given.
"""
import os
import pathlib
import pwd
import re
import socket
import urllib.request

from harness.job import DATA, free_port
from harness.registry import check, program

NGINX = """
user {user}; worker_processes 3; daemon off; pid {folder}/pid; error_log {folder}/error.log warn;
events {{ worker_connections 512; }}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s; default_type text/plain;
  gzip on; gzip_types text/plain; gzip_min_length 100;
  proxy_cache_path {folder}/cache keys_zone=pages:1m;
  server {{
    listen 127.0.0.1:{port}; root {folder}/files;
    location / {{ ssi on; ssi_types text/plain; autoindex on; }}
    location /via/ {{ proxy_pass http://127.0.0.1:{port}/; proxy_buffers 16 4k; }}
    location /cached/ {{ proxy_pass http://127.0.0.1:{port}/; proxy_cache pages; proxy_cache_valid 200 1s; }}
  }}
}}
"""
WORDS = "".join(f"word {i * 7919 % 10007}\n" for i in range(6000))


@program("nginx", serves={"nginx": 100})
def nginx(job):
    """serves files, packed, through itself and from a cache, while it takes its configuration anew"""
    port, user = free_port(), pwd.getpwuid(os.getuid()).pw_name
    (job.folder / "files").mkdir()
    for i in range(50):
        (job.folder / f"files/{i}.txt").write_text(WORDS[:i * 1200 + 10])
    (job.folder / "nginx.conf").write_text(NGINX.format(user=user, folder=job.folder, port=port))

    def fetch(path):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=20) as answer:
            return answer.read().decode()

    def is_up():
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", port)) == 0
    with job.server(["nginx", "-c", job.folder / "nginx.conf", "-p", job.folder], is_up) as server:
        bench = [job.start(["wrk", "-t1", "-c20", "-d8s", "-H", "Accept-Encoding: gzip", f"http://127.0.0.1:{port}/{path}"])
                 for path in ("40.txt", "via/30.txt", "cached/20.txt")]
        for turn in range(4):
            for i in range(0, 50, 3):
                for where in "", "via/", "cached/":
                    check(fetch(f"{where}{i}.txt") == WORDS[:i * 1200 + 10], f"{where}{i}.txt is not what was written")
            server.send_signal(1)
        for process in bench:
            shown = job.finish(process, timeout=600).text
            counted = re.search(r"(\d+) requests in", shown)
            check(counted and int(counted[1]) > 100 and "Non-2xx" not in shown, f"wrk says {shown}")
            job.note(f"{counted[1]} requests")
    errors = pathlib.Path(job.folder / "error.log").read_text()
    check("[alert]" not in errors and "[crit]" not in errors, errors[-300:])
    return True


@program("memcached", serves={"memcached": 50})
def memcached(job):
    """takes, gives back and drops a quarter of a million values of eight clients, more than it has room for"""
    path = job.folder / "s"
    user = pwd.getpwuid(os.getuid()).pw_name
    with job.server(["memcached", "-s", path, "-m", "64", "-t", "4", "-I", "2m", "-u", user], path.exists, status=None):
        clients = [job.start(["python3", DATA / "memcached_client.py", path, str(k)], env={"PYTHONMALLOC": "malloc"})
                   for k in range(8)]
        for process in clients:
            shown = job.finish(process).text
            is_right = re.fullmatch(r"\d+ right, \d+ dropped, 0 wrong\n", shown) and int(shown.split()[0]) > 1000
            check(is_right, f"a client says {shown}")
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(path))
            sock.sendall(b"stats\r\n")
            stats = b""
            while not stats.endswith(b"END\r\n"):
                stats += sock.recv(65536)
        sets, dropped = (int(re.search(rb"STAT %s (\d+)" % name, stats)[1]) for name in (b"cmd_set", b"evictions"))
        # It does not count the few values for which it had no room at that moment.
        check(8 * 31000 >= sets > 8 * 30900 and dropped > 0, f"memcached has counted {sets} values and dropped {dropped}")
    return True
