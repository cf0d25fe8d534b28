"""DICOM associations in plain Python (PS3.7, PS3.8): data sets pass as bytes, so that nothing is encoded anew on its way."""

import socket
import struct
import threading

from tests.harness.waiting import PATIENCE_S

IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
VERIFICATION = "1.2.840.10008.1.1"
COMMITMENT = "1.2.840.10008.1.20.1"
COMMITMENT_INSTANCE = "1.2.840.10008.1.20.1.1"
FIND = {"P": "1.2.840.10008.5.1.4.1.2.1.1", "S": "1.2.840.10008.5.1.4.1.2.2.1"}
MOVE = {"P": "1.2.840.10008.5.1.4.1.2.1.2", "S": "1.2.840.10008.5.1.4.1.2.2.2"}
GET = {"P": "1.2.840.10008.5.1.4.1.2.1.3", "S": "1.2.840.10008.5.1.4.1.2.2.3"}
APPLICATION_CONTEXT = b"1.2.840.10008.3.1.1.1"
PENDING = 0xFF00
C_STORE, C_GET, C_FIND, C_MOVE, C_ECHO, C_CANCEL, N_EVENT, N_ACTION, RESPONSE = 1, 0x10, 0x20, 0x21, 0x30, 0xFFF, 0x100, 0x130, 0x8000
NO_DATA_SET = 0x101
PDU_MAX = 65536
# Elements of group 0000 and how they are written.
UIDS = {0x0002, 0x0003, 0x1000, 0x1001}
NUMBERS = {0x0100, 0x0110, 0x0120, 0x0700, 0x0800, 0x0900, 0x1002, 0x1008, 0x1020, 0x1021, 0x1022, 0x1023, 0x1031}


class Ended(Exception):
    """The peer released, aborted, rejected, or closed."""


def encode(elements):
    """An Implicit VR data set: {(group, element): bytes, text, number, or a list of such data sets}."""
    out = b""
    for (group, element), value in sorted(elements.items()):
        if isinstance(value, list):
            value = b"".join(struct.pack("<HHI", 0xFFFE, 0xE000, len(item)) + item for item in map(encode, value))
        elif isinstance(value, int):
            value = struct.pack("<H", value)
        elif isinstance(value, str):
            value = value.encode()
            value += b"\0" * (len(value) % 2)
        out += struct.pack("<HHI", group, element, len(value)) + value
    return out


def decode(data, sequences=((0x0008, 0x1199), (0x0008, 0x1198))):
    """The elements of an Implicit VR data set; those of sequences as lists of such."""
    elements = {}
    at = 0
    while at + 8 <= len(data):
        group, element, length = struct.unpack_from("<HHI", data, at)
        at += 8
        if (group, element) in sequences:
            items, at = decode_items(data, at, length)
            elements[group, element] = items
        else:
            elements[group, element] = data[at:at + length]
            at += length
    return elements


def decode_items(data, at, length):
    """Items of a sequence, whatever way of telling lengths they use; and where they end."""
    end = len(data) if length == 0xFFFFFFFF else at + length
    items = []
    while at < end:
        group, element, size = struct.unpack_from("<HHI", data, at)
        at += 8
        if (group, element) == (0xFFFE, 0xE0DD):
            break
        if size == 0xFFFFFFFF:
            size = data.index(struct.pack("<HHI", 0xFFFE, 0xE00D, 0), at) - at
            items.append(decode(data[at:at + size]))
            at += size + 8
        else:
            items.append(decode(data[at:at + size]))
            at += size
    return items, at


def text(value):
    """A value without its padding."""
    return (value or b"").rstrip(b"\0 ").decode("ascii", "replace")


def item(kind, content):
    """An item of A-ASSOCIATE (PS3.8 9.3.2)."""
    return struct.pack(">BBH", kind, 0, len(content)) + content


def items(data):
    """Its items."""
    at = 0
    while at < len(data):
        kind, _, length = struct.unpack_from(">BBH", data, at)
        yield kind, data[at + 4:at + 4 + length]
        at += 4 + length


def associate_request(contexts, calling="TEST", called="MUSUBI", roles=()):
    """A-ASSOCIATE-RQ; arguments as Requestor has them."""
    body = struct.pack(">HH", 1, 0) + called.ljust(16).encode() + calling.ljust(16).encode() + bytes(32)
    body += item(0x10, APPLICATION_CONTEXT)
    for number, (abstract, syntaxes) in enumerate(contexts):
        content = struct.pack("BBBB", 2 * number + 1, 0, 0, 0) + item(0x30, abstract.encode())
        body += item(0x20, content + b"".join(item(0x40, syntax.encode()) for syntax in syntaxes))
    user = item(0x51, struct.pack(">I", PDU_MAX)) + item(0x52, b"1.2.826.0.1.3680043.10.1")
    for role in roles:
        user += item(0x54, struct.pack(">H", len(role)) + role.encode() + b"\0\1")
    body += item(0x50, user)
    return struct.pack(">BBI", 1, 0, len(body)) + body


def echo_request(context=1):
    """P-DATA-TF of a C-ECHO-RQ."""
    body = encode({(0, 0x0002): VERIFICATION, (0, 0x0100): C_ECHO, (0, 0x0110): 1, (0, 0x0800): NO_DATA_SET})
    body = encode({(0, 0): struct.pack("<I", len(body))}) + body
    return struct.pack(">BBIIBB", 4, 0, len(body) + 6, len(body) + 2, context, 3) + body


class Association:
    """What both sides have in common: PDUs and messages."""

    def __init__(self, connection):
        self.socket = connection
        self.contexts = {}  # id: (abstract syntax, transfer syntax)
        self.last_id = 0

    def send_pdu(self, kind, content):
        """One PDU."""
        self.socket.sendall(struct.pack(">BBI", kind, 0, len(content)) + content)

    def read(self, size):
        """So many bytes."""
        data = b""
        while len(data) < size:
            piece = self.socket.recv(size - len(data))
            if not piece:
                raise Ended("closed")
            data += piece
        return data

    def read_pdu(self):
        """Its type and content; a release is answered."""
        kind, _, length = struct.unpack(">BBI", self.read(6))
        content = self.read(length)
        if kind == 5:
            self.send_pdu(6, bytes(4))
            raise Ended("released")
        if kind in (3, 7):
            raise Ended(f"{'rejected' if kind == 3 else 'aborted'} {content.hex()}")
        return kind, content

    def send(self, context, command, data=None):
        """A message."""
        elements = dict(command)
        elements[0x0800] = NO_DATA_SET if data is None else 0
        body = b""
        for element, value in sorted(elements.items()):
            body += encode({(0, element): value if element in NUMBERS or element in UIDS or not isinstance(value, str)
                            else value + " " * (len(value) % 2)})
        body = encode({(0, 0): struct.pack("<I", len(body))}) + body
        self.send_pdvs(context, body, 1)
        if data is not None:
            self.send_pdvs(context, data, 0)

    def send_pdvs(self, context, data, flag):
        """Command set or data set, in fragments."""
        room = PDU_MAX - 6
        for at in range(0, max(len(data), 1), room):
            last = 2 if at + room >= len(data) else 0
            piece = data[at:at + room]
            self.send_pdu(4, struct.pack(">IBB", len(piece) + 2, context, flag | last) + piece)

    def receive(self):
        """Context, command {element: value} and data set (None without) of the next message."""
        command, context = self.receive_part()
        elements = {element: value for (_, element), value in decode(command).items()}
        parsed = {element: struct.unpack("<H", value)[0] if element in NUMBERS and len(value) == 2 else text(value)
                  for element, value in elements.items()}
        data = None if parsed.get(0x0800) == NO_DATA_SET else self.receive_part()[0]
        return context, parsed, data

    def receive_part(self):
        """A command set or data set."""
        pieces = []
        pending = getattr(self, "pending", [])
        while True:
            while pending:
                context, flags, piece = pending.pop(0)
                pieces.append(piece)
                if flags & 2:
                    self.pending = pending
                    return b"".join(pieces), context
            kind, content = self.read_pdu()
            if kind != 4:
                raise Ended(f"PDU {kind}")
            at = 0
            while at < len(content):
                length, context, flags = struct.unpack_from(">IBB", content, at)
                pending.append((context, flags, content[at + 6:at + 4 + length]))
                at += 4 + length

    def context(self, abstract_syntax, syntax=None):
        """The id of an accepted context."""
        for number, (abstract, accepted) in self.contexts.items():
            if abstract == abstract_syntax and syntax in (None, accepted):
                return number
        raise KeyError(f"no context for {abstract_syntax} {syntax}")

    def next_id(self):
        """A message ID."""
        self.last_id += 1
        return self.last_id

    def close(self):
        """Without a word."""
        self.socket.close()


class Requestor(Association):
    """An association that we ask for."""

    def __init__(self, port, contexts, calling="TEST", called="MUSUBI", roles=(), timeout_s=PATIENCE_S, tls=None):
        """contexts: (abstract syntax, [transfer syntaxes]); roles: abstract syntaxes for which we are the SCP; tls: an SSLContext."""
        connection = socket.create_connection(("127.0.0.1", port), timeout_s)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        super().__init__(tls.wrap_socket(connection) if tls else connection)
        self.socket.sendall(associate_request(contexts, calling, called, roles))
        try:
            self.accept_contexts(self.read_pdu()[1], contexts)
        except Ended:
            self.close()
            raise

    def accept_contexts(self, content, proposed):
        """Reads A-ASSOCIATE-AC."""
        for kind, part in items(content[68:]):
            if kind == 0x21 and part[2] == 0:
                syntax = next(data for sub, data in items(part[4:]) if sub == 0x40)
                self.contexts[part[0]] = (proposed[part[0] // 2][0], text(syntax))

    def release(self):
        """Orderly."""
        self.send_pdu(5, bytes(4))
        kind, _, length = struct.unpack(">BBI", self.read(6))
        self.read(length)
        self.close()
        return kind == 6

    def store(self, sop_class, sop_instance, syntax, data):
        """C-STORE of the bytes of a data set; gives the status."""
        self.send(self.context(sop_class, syntax), {0x0002: sop_class, 0x0100: C_STORE, 0x0110: self.next_id(), 0x0700: 0,
                                                    0x1000: sop_instance}, data)
        return self.receive()[1][0x0900]

    def find(self, keys, model="S"):
        """C-FIND: the status at the end, and the matches as the bytes of their data sets."""
        self.send(self.context(FIND[model]), {0x0002: FIND[model], 0x0100: C_FIND, 0x0110: self.next_id(), 0x0700: 0}, encode(keys))
        matches = []
        while True:
            _, message, data = self.receive()
            if data is None:
                return message[0x0900], matches
            matches.append(data)

    def commit(self, transaction, references):
        """N-ACTION of storage commitment; gives the status."""
        data = encode({(0x0008, 0x1195): transaction,
                       (0x0008, 0x1199): [{(0x0008, 0x1150): sop_class, (0x0008, 0x1155): uid} for sop_class, uid in references]})
        self.send(self.context(COMMITMENT), {0x0003: COMMITMENT, 0x0100: N_ACTION, 0x0110: self.next_id(), 0x1001: COMMITMENT_INSTANCE,
                                             0x1008: 1}, data)
        return self.receive()[1][0x0900]

    def retrieve(self, keys, destination=None, model="S", cancel_after=None, store_status=0):
        """C-MOVE, or C-GET without a destination: responses [{element: value}] with the data set at None, and instances
        [(SOP class, UID, transfer syntax, data set)]."""
        abstract = (GET if destination is None else MOVE)[model]
        context, number = self.context(abstract), self.next_id()
        command = {0x0002: abstract, 0x0100: C_GET if destination is None else C_MOVE, 0x0110: number, 0x0700: 0}
        if destination is not None:
            command[0x0600] = destination
        self.send(context, command, encode(keys))
        responses, instances = [], []
        while True:
            at, message, data = self.receive()
            if message[0x0100] == C_STORE:
                instances.append((message[0x0002], message[0x1000], self.contexts[at][1], data))
                self.send(at, {0x0002: message[0x0002], 0x0100: C_STORE | RESPONSE, 0x0120: message[0x0110], 0x0900: store_status,
                               0x1000: message[0x1000]})
            else:
                responses.append({**message, None: data})
                if message[0x0900] != PENDING:
                    return responses, instances
            if cancel_after is not None and len(responses) + len(instances) >= cancel_after:
                self.send(context, {0x0100: C_CANCEL, 0x0120: number})
                cancel_after = None


class Acceptor:
    """Takes associations in a thread and accepts every context, instances in its first transfer syntax: keeps them and reports."""

    def __init__(self, store_status=0, delay_s=0, tls=None):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.store_status = store_status
        self.delay_s = delay_s
        self.tls = tls  # a context for the side of the server; None: plain
        self.commands = []
        self.instances = []  # (SOP class, UID, transfer syntax, data set)
        self.reports = []  # (event type, {element: value})
        self.called = []  # (calling, called)
        self.heard = 0  # messages that came, answered or not
        self.has_news = threading.Condition()
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        """Until the listener is closed."""
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        """One association."""
        try:
            association = Association(self.tls.wrap_socket(connection, server_side=True) if self.tls else connection)
        except OSError:  # no handshake
            connection.close()
            return
        try:
            self.accept(association)
            while True:
                self.answer(association, *association.receive())
        except (Ended, OSError):
            association.close()

    def accept(self, association):
        """A-ASSOCIATE-AC with what was proposed; roles as proposed."""
        _, content = association.read_pdu()
        with self.has_news:
            self.called.append((text(content[20:36]), text(content[4:20])))
        answer = content[:68] + item(0x10, APPLICATION_CONTEXT)
        user = item(0x51, struct.pack(">I", PDU_MAX)) + item(0x52, b"1.2.826.0.1.3680043.10.1")
        for kind, part in items(content[68:]):
            if kind == 0x20:
                parts = [(sub, data) for sub, data in items(part[4:])]
                syntaxes = [data for sub, data in parts if sub == 0x40]
                is_report = parts[0][1].rstrip(b"\0") == COMMITMENT.encode()  # which is decoded here
                syntax = IMPLICIT.encode() if is_report else syntaxes[0]
                association.contexts[part[0]] = (text(parts[0][1]), text(syntax))
                answer += item(0x21, struct.pack("BBBB", part[0], 0, 0, 0) + item(0x40, syntax))
            elif kind == 0x50:
                user += b"".join(item(0x54, data) for sub, data in items(part) if sub == 0x54)
        association.send_pdu(2, answer + item(0x50, user))

    def answer(self, association, context, command, data):
        """Keeps what came, and says so."""
        with self.has_news:
            self.heard += 1
        threading.Event().wait(self.delay_s)
        with self.has_news:
            self.commands.append(command)
            if command[0x0100] == C_STORE:
                self.instances.append((command[0x0002], command[0x1000], association.contexts[context][1], data))
            elif command[0x0100] == N_EVENT:
                self.reports.append((command[0x1002], decode(data)))
            self.has_news.notify_all()
        status = self.store_status if command[0x0100] == C_STORE else 0
        association.send(context, {0x0002: command[0x0002], 0x0100: command[0x0100] | RESPONSE, 0x0120: command[0x0110], 0x0900: status,
                                   0x1000: command.get(0x1000, "")})

    def wait_for(self, condition, timeout_s=PATIENCE_S):
        """Whether the condition came true in time."""
        with self.has_news:
            return self.has_news.wait_for(condition, timeout_s)

    def close(self):
        """No more associations."""
        self.listener.close()


def read_file(path):
    """A file (PS3.10): SOP class, SOP instance, transfer syntax of its file meta information, and the bytes of the data set."""
    data = path.read_bytes()
    if data[128:132] != b"DICM":
        raise ValueError(f"{path} has no file meta information")
    at, meta = 132, {}
    while at + 8 <= len(data) and data[at:at + 2] == b"\2\0":
        element, vr = struct.unpack_from("<H2s", data, at + 2)
        is_long = vr in (b"OB", b"OW", b"SQ", b"UN", b"UT")
        length, = struct.unpack_from("<I" if is_long else "<H", data, at + (8 if is_long else 6))
        at += 12 if is_long else 8
        meta[element] = data[at:at + length]
        at += length
    return text(meta[0x0002]), text(meta[0x0003]), text(meta[0x0010]), data[at:]
