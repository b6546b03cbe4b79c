"""The C library from Python, by ctypes: a server answers, and a hub publishes.

    python3 ctypes.py LIBRARY abi.txt

Structs and numbers are those of abi.txt, functions those of the library.
"""
import ctypes as c
import http.client
import re
import select
import sys
import threading

lib = c.CDLL(sys.argv[1])
abi = open(sys.argv[2], encoding="ascii").read()
for function in re.findall(r"^function int64_t (\w+)", abi, re.M):
    getattr(lib, function).restype = c.c_int64
numbers = {name: int(value) for name, value in re.findall(r"^(?:constant|define) (\w+) (-?\d+)$", abi, re.M)}
kind = {name[len("PAGI_SSE_KIND_"):]: n for name, n in numbers.items() if name.startswith("PAGI_SSE_KIND_")}


class Bytes(c.Structure):
    _fields_ = [("data", c.c_void_p), ("len", c.c_size_t)]

    def get(self):
        return c.string_at(self.data, self.len) if self.len else b""


def struct(name):
    """The struct of that name, zeroed; with its size, if it has one."""
    types = {1: c.c_uint8, 2: c.c_uint16, 4: c.c_uint32, 8: c.c_uint64, 16: Bytes}
    fields = re.findall(rf"^field {name}\.(\w+) at \d+ size (\d+)$", abi, re.M)
    made = type(name, (c.Structure,), {"_fields_": [(field, types[int(size)]) for field, size in fields]})()
    assert c.sizeof(made) == int(re.search(rf"^struct {name} size (\d+)$", abi, re.M)[1])
    if fields[0][0] == "size":
        made.size = c.sizeof(made)
    return made


kept = []  # what structs point to


def point(text):
    kept.append(c.create_string_buffer(text, len(text)))
    return c.addressof(kept[-1])


def of(value):
    return Bytes(point(value), len(value))


class Failure(Exception):
    pass


def call(name, *arguments):
    result = getattr(lib, "pagi_sse_" + name)(*arguments)
    if result < 0:
        words, length = c.create_string_buffer(1024), c.c_size_t()
        lib.pagi_sse_error(words, c.c_size_t(1024), c.byref(length))
        raise Failure(f"{name}: {words.raw[:length.value].decode()}")
    return result


def text(value):
    return value, c.c_size_t(len(value))


def opened(name, *arguments):
    handle = c.c_uint64()
    call(name, *arguments, c.byref(handle))
    return handle


def open_server(listen):
    options = struct("pagi_sse_server_options")
    options.listen = of(listen)
    return opened("server_open", c.byref(options))


def records(server):
    """Those that come, for ever."""
    buf = c.create_string_buffer(numbers["PAGI_SSE_RECORD_MAX"])
    used, at, record = c.c_size_t(), c.c_size_t(), struct("pagi_sse_record")
    while True:
        select.select([call("server_fd", server)], [], [], 20)
        while call("server_next", server, buf, c.c_size_t(len(buf)), c.byref(used)):
            at.value = 0
            while call("record_read", buf, used, c.byref(at), c.byref(record), c.c_size_t(c.sizeof(record))):
                yield record


def answer(hub, record):
    conn = c.c_uint64(record.conn)
    if record.sse:
        subscription = opened("hub_subscribe", hub, conn, *text(b"news"), None)
        call("subscription_free", subscription)
        event = struct("pagi_sse_event")
        event.data, event.event = of(b'{ "from": "Python" }'), of(b"greeting")
        event.retry_ms, event.flags = 250, numbers["PAGI_SSE_EVENT_RETRY"]
        assert call("hub_publish", hub, *text(b"news"), c.byref(event)) == 1
        assert call("hub_close_streams", hub, *text(b"news"), *text(b"over")) == 1
    else:
        call("conn_respond", conn, c.c_uint16(201), None, c.c_size_t(0))
        call("conn_body", conn, *text(record.path.get() + b"?" + record.query.get()), 0)
    call("conn_free", conn)


def ask(port, path, answers, **headers):
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    client.request("GET", path, headers=headers)
    response = client.getresponse()
    answers[path] = response.status, response.read()
    client.close()


def main():
    try:
        open_server(b"nowhere")
    except Failure as failure:
        print(failure)
    hub = opened("hub_open", *text(b"py"), None, c.c_uint64(0), 0)
    server = open_server(b"127.0.0.1:0")
    call("server_start", server)
    port, answers = call("server_port", server), {}
    clients = [
        threading.Thread(target=ask, args=(port, "/a%20b?c=d", answers)),
        threading.Thread(target=ask, args=(port, "/s", answers), kwargs={"Accept": "text/event-stream"}),
    ]
    for client in clients:
        client.start()
    left = len(clients)
    for record in records(server):
        if record.kind == kind["REQUEST"]:
            answer(hub, record)
        elif record.kind == kind["ENDED"]:
            print("ended", record.status, record.text.get().decode())
            left -= 1
        if not left:
            break
    for client in clients:
        client.join()
    for path in sorted(answers):
        print(path, *answers[path])
    call("hub_free", hub, c.c_uint64(1000))
    call("server_free", server, c.c_uint64(1000))
    print("handles left:", call("handle_count"))


main()
