#!/usr/bin/env python3
"""A whole bot, written from PROTOCOL.md alone and with Python's own library: plays one match and prints its place.

    tests/bot.py http://127.0.0.1:8080 '{"name": "Py", "mode": "last_ship", "rules": "sprint", "seats": 2}'
Exit code 0: the match was played to its result, and every snapshot decoded to what the server had hashed."""
import base64, http.client, json, math, os, re, socket, struct, sys, urllib.parse, urllib.request
# Chapter 9: bits by field; negative ones are signed; rare ones have a bit before them
OWN = {"ammunition": 3, "reload_ticks": 8, "cooldown_ticks": 6, "dash_wait_ticks": 10, "shots": 13}
ROUND = {"tick": 32, "phase": 3, "phase_ends": 32, "number": 8, "winner": 4, "holder": 4}
SHIP = {"x": -20, "y": -20, "vx": -21, "vy": -21, "angle": 12, "alive": 1, "hull": 7, "input": 8, "rare": {
    "pod": 1, "return_ticks": 10, "lives": 4, "guard_ticks": 8, "dash_ticks": 5, "item": 4, "charges": 3, "shield": 2,
    "overdrive_ticks": 10, "windup_ticks": 6}}
SCORE = {"rounds_won": 4, "kills": 10, "deaths": 10, "rare": {"points": 14}}
BULLET = {"id": 16, "born": 16, "leg": 8, "x": -20, "y": -20, "angle": 12, "bounces": 2}
ASTEROID = {"id": 8, "x": -20, "y": -20, "vx": -20, "vy": -20, "size": 2, "hits": 3}
PAD, BOMB = {"item": 4, "ready": 20}, {"owner": 3, "x": 11, "y": 11, "spent": 20}
HOMING = {"owner": 3, "x": -20, "y": -20, "angle": 12, "spent": 20}
MINE, M64 = {"owner": 3, "x": 11, "y": 11, "armed": 20}, (1 << 64) - 1

class WebSocket:
    """Chapter 4: whole binary frames; those that go out are masked."""
    def __init__(self, url):
        url = urllib.parse.urlsplit(url)
        kind = http.client.HTTPSConnection if url.scheme == "wss" else http.client.HTTPConnection
        self.connection, key = kind(url.netloc, timeout=10), base64.b64encode(os.urandom(16)).decode()
        self.connection.request("GET", url.path, headers={
            "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": key})
        assert self.connection.getresponse().status == 101, "no WebSocket"
        self.socket, self.stream = self.connection.sock, self.connection.sock.makefile("rb")
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    def send(self, payload, opcode=2):
        mask, length = os.urandom(4), len(payload)
        head = bytes([128 | opcode, 128 | length]) if length < 126 else struct.pack(">BBH", 128 | opcode, 254, length)
        self.socket.sendall(head + mask + bytes(byte ^ mask[i & 3] for i, byte in enumerate(payload)))
    def receive(self):
        """The next binary frame; or code and text of the close frame."""
        while True:
            opcode, length = self.stream.read(2)
            if length >= 126:
                length = int.from_bytes(self.stream.read(2 if length == 126 else 8), "big")
            opcode, payload = opcode & 15, self.stream.read(length)
            if opcode == 9:
                self.send(payload, opcode=10)
            elif opcode in (2, 8):
                return payload if opcode == 2 else (int.from_bytes(payload[:2], "big"), payload[2:].decode())
def varint(number):
    """Chapter 6: always in four bytes, which is enough for any match."""
    return (number | 2 << 30).to_bytes(4, "big")
def take_varint(data):
    size = 1 << (data[0] >> 6)
    return int.from_bytes(data[:size], "big") & (1 << 8 * size - 2) - 1, data[size:]
def bits_of(data):
    """Chapter 9: a function that takes the next bits, the lowest first; without a number, up to the next byte."""
    number, at = int.from_bytes(data, "little"), 0
    def take(bits=None):
        nonlocal at
        start, at = at, at + (-at % 8 if bits is None else abs(bits))
        value = number >> start & (1 << at - start) - 1
        return value - (1 << -bits) if bits and bits < 0 and value >> -bits - 1 else value
    return take
def view_hash(numbers):
    """Chapter 15."""
    h = 0x2545f4914f6cdd1d
    for number in numbers:
        h = (((h << 23 | h >> 41) ^ (number & 0xffffffff)) & M64) * 0x9e3779b97f4a7c15 & M64
    h = (h ^ h >> 30) * 0xbf58476d1ce4e5b9 & M64
    h = (h ^ h >> 27) * 0x94d049bb133111eb & M64
    return (h ^ h >> 31) & 0xffffffff
def fetch(url, body=None):
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    return urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10).read().decode()

class Bot:
    def __init__(self, base, wish):
        ticket = json.loads(fetch(base + "/v1/quickplay", wish.encode()))
        text = re.sub(r"Some\((\(.*?\))\)", r"\1", fetch(f"{base}/v1/rules/{ticket['rules_hash']}"))
        text = re.sub(r'"[^"]*"|[A-Za-z_]\w*', lambda word: json.dumps(word[0].strip('"')), text)
        self.rules, self.arena = json.loads(text.translate(str.maketrans("()", "{}"))).values()
        self.layout = self.arena["small" if ticket["seats"] <= 4 else "large"]
        self.seat, self.fingerprint = ticket["seat"], int(ticket["fingerprint"], 16)
        self.sequence, self.expected, self.lead, self.result, self.hashes = 0, 0, 4, None, {True: 0, False: 0}
        self.web = WebSocket(ticket["websocket_url"])
        self.web.send(struct.pack("<BQ", 1, self.fingerprint) + base64.b64decode(ticket["websocket_ticket"]))
    def send(self, packet):
        self.web.send(struct.pack("<H", len(packet)) + packet)
    def send_control(self, kind, rest):
        self.send(bytes([kind]) + varint(self.sequence) + rest)
        self.sequence += 1
    def on_control(self, packet):
        newest, rest = take_varint(packet[1:])
        count, rest = int.from_bytes(rest[1:3], "big"), rest[3:]
        for _ in range(count):
            number, rest = take_varint(rest)
            length, rest = take_varint(rest)
            if number == self.expected:
                self.expected += 1
                self.on_message(rest[:length])
            rest = rest[length:]
        self.send_control(4, varint(newest) * 2 + b"\0")
    def on_message(self, message):
        if message[0] == 0:    # Welcome. Ready is our only message: number 0 of channel 0, one of them
            ready = struct.pack("<IQB", 0, self.fingerprint, 30)
            self.send_control(0, b"\0" + b"\0\1" + varint(0) + varint(len(ready)) + ready)
        elif message[0] == 2:  # Result. Behind "maybe winner" and the length of the list
            self.result = list(struct.iter_unpack("<2B2HB2HIB", message[4 + 1 + message[4] + 8:]))[self.seat]
    def on_snapshot(self, packet):
        take = bits_of(packet[1:])
        def row(table):
            rare, plain = table.get("rare", {}), {name: take(bits) for name, bits in table.items() if name != "rare"}
            return plain | {name: 0 if absent else take(bits) for absent in (rare and 1 - take(1),)
                            for name, bits in rare.items()}
        rows = lambda table, count: [row(table) for _ in range(count)]
        long, _, margin = take(1), take(32), take(-8)
        told, own, mines, _ = take(32 if long else 16), row(OWN), rows(MINE, take(4)), take()
        seats, game = take(4), row(ROUND)
        ships, scores, *lists = rows(SHIP, seats), rows(SCORE, seats), *(
            rows(table, take(4)) for table in (ASTEROID, PAD, HOMING, BOMB))
        assert take(1) == 0, "who acknowledges 0 gets absolute snapshots"
        tables = [[game], ships, scores, rows(BULLET, take(8)), *lists]
        numbers = [n for table in tables for n in [*(n for row in table for n in row.values()), len(table)]]
        numbers += [*own.values(), *(n for mine in mines for n in mine.values()), len(mines)]
        self.hashes[view_hash(numbers) & (0xffffffff if long else 0xffff) == told] += 1
        self.lead = min(max(self.lead + (margin != -128) * ((margin < 2) - (margin > 2)), 1), 32)
        wanted = self.fly(own, ships) if game["phase"] == 2 and ships[self.seat]["alive"] else 0
        self.send(struct.pack("<BIIB", 0x81, 0, game["tick"] + self.lead, 4) + bytes([wanted] * 4))
    def fly(self, own, ships):
        """Turns to where the nearest ship will be when a bullet gets there; fires when it looks that way."""
        gun, me, wraps = self.rules["gun"], ships[self.seat], self.arena["edge"] == "wrap"
        sides = ("x", self.layout["width"] * 256), ("y", self.layout["height"] * 256)
        way = lambda gap, side: (gap + side / 2) % side - side / 2 if wraps else gap
        ways = [[way(ship[axis] - me[axis], side) for axis, side in sides] + [ship]
                for ship in ships if ship is not me and ship["alive"]]
        dx, dy, ship = min(ways, default=(1, 0, me), key=lambda way: math.hypot(*way[:2]))
        ticks = math.hypot(dx, dy) / (gun["bullet_speed"] * 256 / 60)
        dx, dy = dx + ship["vx"] / 256 * ticks, dy + ship["vy"] / 256 * ticks
        off = (math.degrees(math.atan2(dy, dx)) - me["angle"] * 360 / 4096 + 180) % 360 - 180
        turn = max(-15, min(15, round(off / (self.rules["ship"]["turn_degrees_per_s"] / 60 * 3) * 15)))
        fire = own["ammunition"] and abs(off) < 5 and ticks < gun["bullet_life_ms"] * 0.06
        return turn & 31 | (ticks > 15 or not own["ammunition"]) << 5 | bool(fire) << 6

bot = Bot(*sys.argv[1:])
while isinstance(frame := bot.web.receive(), bytes):
    while frame:
        length = int.from_bytes(frame[:2], "little")
        packet, frame = frame[2:2 + length], frame[2 + length:]
        if packet[0] in (0x00, 0x80):
            (bot.on_snapshot if packet[0] else bot.on_control)(packet)
print("closed with {} {}; {} snapshots as hashed, {} otherwise".format(*frame, *bot.hashes.values()))
print("place {}: {} rounds, {} kills, {} deaths, {} assists, {} shots, {} hits".format(*bot.result or ["none"] * 7))
sys.exit(0 if bot.result and frame[0] == 4000 and not bot.hashes[False] else 1)
