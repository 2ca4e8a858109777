"""A bounded load of completions: so many clients, each with one request at a time.

    load.py ADDRESS KEY CLIENTS BODY REQUESTS [SECONDS]

Ends after so many requests or seconds. Prints a line of JSON for each: its number, when it began, how
long it took, its status (0: none came) and the text that it got, or what failed. BODY is that of each; its prompt
is its number, unless BODY has one.
"""

import http.client
import itertools
import json
import sys
import threading
import time
import urllib.parse

address, key, clients, body, requests, *seconds = sys.argv[1:]
server = urllib.parse.urlsplit(address)
assert server.hostname
host, port = server.hostname, server.port
deadline = time.monotonic() + float(seconds[0] if seconds else 600)
numbers = iter(range(int(requests)))
lock = threading.Lock()


def client() -> None:
    while time.monotonic() < deadline:
        with lock:
            number = next(numbers, None)
        if number is None:
            return
        began, clock = time.time(), time.monotonic()
        status, text = ask(number)
        took = time.monotonic() - clock
        line = {"number": number, "began": began, "took": took, "status": status, "text": text}
        with lock:
            print(json.dumps(line), flush=True)


def ask(number: int) -> tuple[int, str]:
    connection = http.client.HTTPConnection(host, port, timeout=120)
    headers = {"content-type": "application/json", "authorization": f"Bearer {key}"}
    try:
        words = json.dumps({"prompt": f"number {number}", **json.loads(body)})
        connection.request("POST", server.path, words, headers)
        response = connection.getresponse()
        said = response.read().decode()
        if response.status != 200:
            return response.status, said[:200]
        return 200, json.loads(said)["choices"][0]["text"]
    except (OSError, http.client.HTTPException, ValueError) as error:
        return 0, repr(error)
    finally:
        connection.close()


threads = [threading.Thread(target=client) for _ in itertools.repeat(None, int(clients))]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
