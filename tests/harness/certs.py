"""A small certificate authority for tests and the demo, made with the openssl command."""

import pathlib
import subprocess

ROLES = ("server", "gateway-a", "gateway-b", "viewer-a", "auditor", "operator", "stranger")


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


def make_crl(folder, *revoked):
    """Writes crl.pem of the test CA, which names these certificates."""
    folder = pathlib.Path(folder)
    index = folder / "index.txt"
    index.write_text("", encoding="utf-8")
    settings = folder / "ca.cnf"
    settings.write_text(f"[ca]\ndefault_ca=c\n[c]\ndatabase={index}\ndefault_md=sha256\ndefault_crl_days=30\n", encoding="utf-8")
    ca = ["ca", "-config", str(settings), "-cert", str(folder / "ca.pem"), "-keyfile", str(folder / "ca.key")]
    for name in revoked:
        _openssl(*ca, "-revoke", str(folder / f"{name}.pem"))
    _openssl(*ca, "-gencrl", "-out", str(folder / "crl.pem"))
    for path in folder.glob("index.txt*"):
        path.unlink()
    settings.unlink()
