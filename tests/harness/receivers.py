"""Receivers of messages that the server sends: HL7 v2 over MLLP, plain or TLS, and HL7 v3 over HTTPS; each answers as told."""

import contextlib
import re
import socket
import ssl
import threading

from tests.harness.ports import free_ports
from tests.harness.waiting import PATIENCE_S


def tls_context(folder, name="server"):
    """Mutual TLS with a certificate of the test CA."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(str(folder / f"{name}.pem"), str(folder / f"{name}.key"))
    context.load_verify_locations(str(folder / "ca.pem"))
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def field(message, segment, number):
    """A field of the first such segment of an HL7 v2 message; MSH counts as it does in the standard."""
    for line in message.split("\r"):
        fields = line.split("|")
        if fields[0] == segment:
            index = number - 1 if segment == "MSH" else number
            return fields[index] if index < len(fields) else ""
    return ""


class Receiver:
    """Takes messages on a port of 127.0.0.1. answer(message) gives the code of the acknowledgement, or None to close the
    connection without one. Messages are kept in the order in which they came, those answered with None too."""

    def __init__(self, answer=None, tls=None, port=0):
        self.answer = answer or (lambda message: self.accepted)
        self.messages = []
        self.arrived = threading.Condition()
        self.tls = tls
        self.port = port or free_ports(1)[0]
        self.listener = None
        self.connections = []
        self.start()

    accepted = "AA"

    def start(self):
        """Listens, on the port of last time."""
        self.listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(self.listener,), daemon=True).start()

    def stop(self):
        """Closes the port and ends every connection."""
        with self.arrived:
            listener, self.listener = self.listener, None
            ended, self.connections = self.connections, []
        if listener:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        for connection in ended:
            try:
                connection.shutdown(socket.SHUT_RDWR)  # its thread closes it
            except OSError:
                pass

    def wait(self, count, timeout_s=PATIENCE_S):
        """The messages once there are count of them, or whatever came in time."""
        with self.arrived:
            self.arrived.wait_for(lambda: len(self.messages) >= count, timeout_s)
            return list(self.messages)

    def _accept(self, listener):
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with self.arrived:
                if self.listener is not listener:
                    connection.close()
                    return
                try:
                    if self.tls:
                        connection = self.tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
                except OSError:  # gone already
                    connection.close()
                    continue
                self.connections.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        try:
            if self.tls:
                connection.do_handshake()
            self._converse(connection)
        except OSError:
            pass
        finally:
            connection.close()

    def _converse(self, connection):
        """One exchange after the other."""
        while self._exchange(connection):
            pass

    def _keep(self, message):
        code = self.answer(message)
        with self.arrived:
            self.messages.append(message)
            self.arrived.notify_all()
        return code

    @staticmethod
    def _read_until(connection, is_whole):
        data = b""
        while not is_whole(data):
            piece = connection.recv(65536)
            if not piece:
                raise OSError("the peer has closed the connection")
            data += piece
        return data


class MllpReceiver(Receiver):
    """HL7 v2."""

    def url(self):
        """For musubi subscriber add."""
        return f"{'mllps' if self.tls else 'mllp'}://127.0.0.1:{self.port}"

    def _exchange(self, connection):
        message = self._read_until(connection, lambda data: data.endswith(b"\x1c\r"))[1:-2].decode()
        code = self._keep(message)
        if code is None:
            return False
        reply = (f"MSH|^~\\&|{field(message, 'MSH', 5)}|{field(message, 'MSH', 6)}|{field(message, 'MSH', 3)}|"
                 f"{field(message, 'MSH', 4)}|20260101||ACK|1|P|{field(message, 'MSH', 12)}\rMSA|{code}|{field(message, 'MSH', 10)}\r"
                 + ("" if code == "AA" else "ERR||PID^1^3|204^Unknown key identifier^HL70357|E\r"))
        connection.sendall(b"\x0b" + reply.encode() + b"\x1c\r")
        return True


class SoapReceiver(Receiver):
    """HL7 v3; messages are the SOAP envelopes."""

    accepted = "CA"

    def url(self):
        """For musubi subscriber add."""
        return f"https://127.0.0.1:{self.port}/consumer"

    def _exchange(self, connection):
        def is_whole(data):
            head, separator, body = data.partition(b"\r\n\r\n")
            length = re.search(rb"(?i)content-length: (\d+)", head)
            return bool(separator) and len(body) >= int(length.group(1) if length else 0)
        message = self._read_until(connection, is_whole).partition(b"\r\n\r\n")[2].decode()
        code = self._keep(message)
        if code is None:
            return False
        reply = ('<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"><s:Body><MCCI_IN000002UV01 xmlns="urn:hl7-org:v3">'
                 f'<acknowledgement><typeCode code="{code}"/></acknowledgement></MCCI_IN000002UV01></s:Body></s:Envelope>').encode()
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/soap+xml\r\nContent-Length: "
                           + str(len(reply)).encode() + b"\r\n\r\n" + reply)
        return True


class ReplyReceiver(Receiver):
    """Asynchronous replies over HTTP. answer(message) gives the status of HTTP, (status, SOAP envelope), or None to close the
    connection; each message is (headers as the sender wrote them, body)."""

    accepted = 202

    def __init__(self, answer=None, tls=None, port=0, path="/async"):
        self.path = path
        super().__init__(answer, tls, port)

    def url(self):
        """For wsa:ReplyTo, and musubi node endpoint add."""
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}{self.path}"

    def _exchange(self, connection):
        head = self._read_until(connection, lambda data: b"\r\n\r\n" in data)
        head, _, body = head.partition(b"\r\n\r\n")
        length = int(re.search(rb"(?i)content-length: (\d+)", head).group(1))
        pieces, count = [body], len(body)
        while count < length:
            piece = connection.recv(1 << 18)
            if not piece:
                raise OSError("the peer has closed the connection")
            pieces.append(piece)
            count += len(piece)
        status = self._keep((head.decode(), b"".join(pieces)))
        if status is None:
            return False
        status, reply = status if isinstance(status, tuple) else (status, b"")
        connection.sendall(f"HTTP/1.1 {status} X\r\nContent-Length: {len(reply)}\r\nContent-Type: application/soap+xml\r\n"
                           f"Location: {self.url()}/elsewhere\r\n\r\n".encode() + reply)
        return True


class SyslogReceiver(Receiver):
    """Audit messages: RFC 5424 in octet-counted frames (RFC 5425). Each is kept as (number of its connection, syslog message)."""

    def __init__(self, tls, port=0):
        self.connection_count = 0
        super().__init__(tls=tls, port=port)

    def _converse(self, connection):
        with self.arrived:
            self.connection_count += 1
            number = self.connection_count
        with contextlib.suppress(ValueError):  # no frames
            self._take(connection, number)

    def _take(self, connection, number):
        """Whole frames, until the connection ends."""
        data = b""
        while True:
            piece = connection.recv(65536)
            if not piece:
                return
            data += piece
            while True:
                length, blank, rest = data.partition(b" ")
                if not blank or len(rest) < int(length):
                    break
                data = rest[int(length):]
                with self.arrived:
                    self.messages.append((number, rest[:int(length)].decode()))
                    self.arrived.notify_all()
