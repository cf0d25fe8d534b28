"""A small certificate authority for tests and the demo, made with the openssl command."""

import contextlib
import pathlib
import subprocess

ROLES = ("server", "gateway-a", "gateway-b", "pacs-a", "viewer-a", "auditor", "operator", "stranger")


def _openssl(*arguments):
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


def make(folder, names=ROLES, days=825):
    """Writes ca.pem, ca.key and NAME.pem, NAME.key for each name; keeps what is there already."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    ca_pem, ca_key = folder / "ca.pem", folder / "ca.key"
    if not ca_pem.exists():
        _openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", str(days), "-subj", "/CN=Musubi test CA",
                 "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign",
                 "-keyout", str(ca_key), "-out", str(ca_pem))
    for name in names:
        make_one(folder, name, days)
    return folder


def make_one(folder, name, days=825):
    """One end-entity certificate of the test CA."""
    if not (pathlib.Path(folder) / f"{name}.pem").exists():
        renew_one(folder, name, days)


def renew_one(folder, name, days=825):
    """As make_one(), in place of the certificate and key that are there."""
    folder = pathlib.Path(folder)
    pem, key, request = folder / f"{name}.pem", folder / f"{name}.key", folder / f"{name}.csr"
    extensions = folder / f"{name}.ext"
    extensions.write_text("basicConstraints=CA:FALSE\nsubjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1\n", encoding="utf-8")
    _openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/O=Musubi test/CN={name}", "-keyout", str(key),
             "-out", str(request))
    _openssl("x509", "-req", "-in", str(request), "-CA", str(folder / "ca.pem"), "-CAkey", str(folder / "ca.key"),
             "-CAcreateserial", "-days", str(days), "-extfile", str(extensions), "-out", str(pem))
    request.unlink()
    extensions.unlink()


def make_dated(folder, name, begin, end):
    """One end-entity certificate of the test CA that is valid between two times, as YYYYMMDDHHMMSSZ."""
    folder = pathlib.Path(folder)
    request = folder / f"{name}.csr"
    _openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/O=Musubi test/CN={name}", "-keyout", str(folder / f"{name}.key"),
             "-out", str(request))
    with _settings(folder) as ca:
        _openssl(*ca, "-batch", "-notext", "-outdir", str(folder), "-in", str(request), "-startdate", begin,
                 "-enddate", end, "-out", str(folder / f"{name}.pem"))
    request.unlink()


def make_self_signed(folder, name, days=825):
    """A certificate without an authority, and with an extension that nobody knows."""
    folder = pathlib.Path(folder)
    _openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", str(days), "-subj", f"/CN={name}",
             "-addext", "1.3.6.1.4.1.99999.1=ASN1:UTF8String:unknown", "-keyout", str(folder / f"{name}.key"),
             "-out", str(folder / f"{name}.pem"))


@contextlib.contextmanager
def _settings(folder):
    """The first arguments of `openssl ca` for the test CA; its files are gone afterwards."""
    index, settings = folder / "index.txt", folder / "ca.cnf"
    index.write_text("", encoding="utf-8")
    settings.write_text(f"[ca]\ndefault_ca=c\n[c]\ndatabase={index}\nrand_serial=yes\ndefault_md=sha256\ndefault_crl_days=30\npolicy=p\n"
                        "[p]\nO=optional\nCN=supplied\n", encoding="utf-8")
    yield ["ca", "-config", str(settings), "-cert", str(folder / "ca.pem"), "-keyfile", str(folder / "ca.key")]
    for path in folder.glob("index.txt*"):
        path.unlink()
    settings.unlink()


def make_crl(folder, *revoked):
    """Writes crl.pem of the test CA, which names these certificates."""
    folder = pathlib.Path(folder)
    with _settings(folder) as ca:
        for name in revoked:
            _openssl(*ca, "-revoke", str(folder / f"{name}.pem"))
        _openssl(*ca, "-gencrl", "-out", str(folder / "crl.pem"))
