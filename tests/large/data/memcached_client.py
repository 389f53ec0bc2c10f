"""A client of memcached that writes 31,000 values and reads them again: each is right, or was dropped, or is wrong."""
import random
import socket
import sys

path, number = sys.argv[1], int(sys.argv[2])
chance = random.Random(number)
sock = socket.socket(socket.AF_UNIX)
sock.connect(path)
stream = sock.makefile("rwb", buffering=1 << 16)
lengths = {}
right = dropped = wrong = 0


def value(key, length):
    return (f"{number}:{key}:" * (length // 4 + 1)).encode()[:length]


for turn in range(310):
    for _ in range(100):
        key = chance.randrange(20000)
        lengths[key] = length = int(2 ** chance.uniform(3, 13)) if chance.randrange(400) else chance.randrange(1 << 20)
        stream.write(b"set %d.%d 0 0 %d\r\n%s\r\n" % (number, key, length, value(key, length)))
    stream.flush()
    for _ in range(100):
        if not stream.readline().startswith((b"STORED", b"SERVER_ERROR out of memory")):
            wrong += 1
    keys = chance.sample(sorted(lengths), 30)
    stream.write(b"get %s\r\n" % b" ".join(b"%d.%d" % (number, key) for key in keys))
    stream.flush()
    found = {}
    while (line := stream.readline()) != b"END\r\n":
        name, length = line.split()[1], int(line.split()[3])
        found[int(name.split(b".")[1])] = stream.read(length + 2)[:-2]
    for key in keys:
        if key not in found:
            dropped += 1
        elif found[key] == value(key, lengths[key]):
            right += 1
        else:
            wrong += 1
print(f"{right} right, {dropped} dropped, {wrong} wrong")
