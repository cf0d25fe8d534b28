"""XML in SOAP at every path: bombs, depth, width, encodings, shapes (SOAP 1.2; SECURITY: libxml2)."""

from lxml import etree

from conformance import client as xds
from tests.hostile.case import Case, SOAP_TYPE, mutations, post, query, submission, truncations
from tests.integration import v3_messages

QUERY = query()
ROOT_END = QUERY.index(b"<soap:Body>")
PATHS = {
    "/registry": QUERY,
    "/repository": xds.envelope(xds.ACTIONS["ITI-43"], xds.retrieve_xml([("1.2.3", "1.2.3.4")])),
    "/pix": xds.envelope("urn:hl7-org:v3:PRPA_IN201309UV02",
                         etree.tostring(v3_messages.fill("v3_pdq_query", query_id="1.2.3"), encoding="unicode", with_tail=False)),
}


def in_body(inner, envelope=QUERY):
    """The envelope with something more in its Body."""
    return envelope.replace(b"</soap:Body>", inner + b"</soap:Body>")


def in_text(inner, envelope=QUERY):
    """The envelope with something in the text of MessageID."""
    return envelope.replace(b"<wsa:MessageID>", b"<wsa:MessageID>" + inner)


def doctypes():
    """Document type declarations: entities that grow, files and hosts that are read."""
    lol = b"".join(b'<!ENTITY l%d "%s">' % (n, b"&l%d;" % (n - 1) * 10) for n in range(1, 10))
    quadratic = b'<!ENTITY a "' + b"a" * 50000 + b'">'
    declarations = {
        "empty": b"<!DOCTYPE x>",
        "internal entity": b'<!DOCTYPE x [<!ENTITY a "b">]>',
        "a billion laughs": b'<!DOCTYPE x [<!ENTITY l0 "lol">' + lol + b"]>",
        "quadratic": b"<!DOCTYPE x [" + quadratic + b"]>",
        "file": b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>',
        "host": b'<!DOCTYPE x [<!ENTITY a SYSTEM "http://127.0.0.1:1/x">]>',
        "external subset": b'<!DOCTYPE x SYSTEM "http://127.0.0.1:1/x.dtd">',
        "public": b'<!DOCTYPE x PUBLIC "-//W3C//DTD XHTML 1.0//EN" "http://127.0.0.1:1/x.dtd">',
        "parameter entity": b'<!DOCTYPE x [<!ENTITY % p SYSTEM "file:///dev/random"> %p;]>',
        "recursion": b'<!DOCTYPE x [<!ENTITY a "&b;"><!ENTITY b "&a;">]>',
        "default attribute": b'<!DOCTYPE x [<!ATTLIST soap:Envelope id ID #IMPLIED xmlns:q CDATA "urn:q">]>',
        "unfinished": b"<!DOCTYPE x [",
        "in lower case": b"<!doctype x>",
        "spread": b"<!DOCTYPE\n\n\n\n  x\t[ ] >",
        "after a comment": b"<!-- a -->" * 100 + b"<!DOCTYPE x>",
        "long": b"<!DOCTYPE " + b"x" * 200000 + b">",
        "notation": b'<!DOCTYPE x [<!NOTATION n SYSTEM "n"><!ENTITY a SYSTEM "a" NDATA n>]>',
        "conditional": b"<!DOCTYPE x [<![INCLUDE[<!ENTITY a 'b'>]]>]>",
    }
    for name, declaration in declarations.items():
        for path, envelope in PATHS.items():
            use = in_text(b"&l9;" if b"l9" in declaration else b"&a;" * (2000 if name == "quadratic" else 1), envelope)
            yield f"doctype {name} at {path}", path, declaration + use
            yield f"doctype {name} behind the XML declaration at {path}", path, b"<?xml version='1.0'?>" + declaration + use
    yield "doctype inside", "/registry", in_body(b"<!DOCTYPE x>")
    yield "doctype in UTF-16", "/registry", ("<!DOCTYPE x [<!ENTITY a 'b'>]>" + in_text(b"&a;").decode()).encode("utf-16")


def sizes():
    """Deep, wide, long."""
    for depth in (101, 500, 5000, 100000):
        yield f"depth {depth}", "/registry", in_body(b"<a>" * depth + b"</a>" * depth)
        yield f"depth {depth}, never closed", "/registry", in_body(b"<a>" * depth)
        yield f"depth {depth}, with namespaces", "/pix", in_body(b"".join(b'<a xmlns="urn:%d">' % n for n in range(depth)), PATHS["/pix"])
    for count in (129, 1000, 16000, 64000):
        yield f"{count} attributes", "/registry", in_body(b"<a " + b" ".join(b'a%d=""' % n for n in range(count)) + b"/>")
        yield f"{count} namespaces", "/registry", in_body(b"<a " + b" ".join(b'xmlns:n%d="u"' % n for n in range(count)) + b"/>")
    for size in (70000, 1000000, 8000000):
        yield f"attribute of {size}", "/registry", in_body(b'<a b="' + b"x" * size + b'"/>')
        yield f"name of {size}", "/registry", in_body(b"<" + b"x" * size + b"/>")
        yield f"prefix of {size}", "/registry", in_body(b"<" + b"x" * size + b":a/>")
        yield f"start tag that never ends, {size}", "/registry", in_body(b"<a" + b" " * size)
    for count in (200001, 1000000):
        yield f"{count} elements", "/registry", in_body(b"<a/>" * count)
    yield "17 MiB of text", "/registry", in_body(b"<a>" + b"x" * (17 << 20) + b"</a>")
    yield "open CDATA", "/registry", in_body(b"<![CDATA[" + b"]]" * 500000)
    yield "open comment", "/registry", in_body(b"<!-- " + b"- " * 500000)
    yield "open processing instruction", "/registry", in_body(b"<?a " + b"? " * 500000)
    yield "MessageID of 1 MB", "/nothing", in_text(b"x" * 1000000)


def forms():
    """What no XML processor may take for well-formed, and what SOAP does not allow."""
    inside = {
        "undefined entity": b"<a>&undefined;</a>", "reference to NUL": b"<a>&#0;</a>", "reference to U+FFFF": b"<a>&#xFFFF;</a>",
        "reference beyond Unicode": b"<a>&#x110000;</a>", "reference to a surrogate": b"<a>&#xD800;</a>", "huge reference": b"<a>&#99999999999999;</a>",
        "bare ampersand": b"<a> & </a>", "CDATA end": b"<a>]]></a>", "comment with two dashes": b"<!-- a -- b -->", "NUL": b"<a>\0</a>",
        "control character": b"<a>\x01</a>", "less-than in an attribute": b'<a b="<"/>', "attribute twice": b'<a b="1" b="2"/>',
        "attribute twice by namespace": b'<a xmlns:p="u" xmlns:q="u" p:b="1" q:b="2"/>', "unbound prefix": b"<nobody:a/>",
        "unbound prefix of an attribute": b'<a nobody:b=""/>', "xmlns prefix declared": b'<a xmlns:xmlns="u"/>', "xml prefix redeclared": b'<a xmlns:xml="u"/>',
        "prefix undeclared": b'<a xmlns:p=""/>', "two colons": b"<a:b:c/>", "attribute without a value": b"<a b/>", "attribute without quotes": b"<a b=c/>",
        "no space between attributes": b"<a b='1'c='2'/>", "crossed": b"<a><b></a></b>", "unclosed": b"<a>", "closed twice": b"<a></a></a>",
        "xml:id twice": b'<a xml:id="x"/><a xml:id="x"/>', "instruction": b"<?php echo 1 ?>", "style sheet": b'<?xml-stylesheet href="file:///etc/passwd"?>',
        "XML declaration inside": b'<?xml version="1.0"?>', "overlong slash": b"<a>\xc0\xaf</a>", "surrogate in UTF-8": b"<a>\xed\xa0\x80</a>",
        "beyond Unicode": b"<a>\xf4\x90\x80\x80</a>", "cut UTF-8": b"<a>\xe3\x81</a>", "lone continuation": b"<a>\x80</a>", "Latin-1": b"<a>\xe9</a>",
        "Shift_JIS": "<a>髙橋</a>".encode("cp932"), "U+FFFE": b"<a>\xef\xbf\xbe</a>", "name that begins with a digit": b"<1a/>", "empty name": b"< a/>",
        "ASCII form feed": b"<a>\x0c</a>", "XInclude": b'<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" href="/etc/passwd" parse="text"/>',
    }
    for name, inner in inside.items():
        for path, envelope in PATHS.items():
            yield f"{name} at {path}", path, in_body(inner, envelope)
    outside = {
        "nothing": b"", "white space": b" \n" * 500, "text": b"hello", "JSON": b'{"a": 1}', "two roots": QUERY + QUERY, "text behind": QUERY + b"x",
        "NUL behind": QUERY + b"\0", "tag behind": QUERY + b"<a/>", "end tag alone": b"</a>", "BOM in the middle": QUERY[:20] + b"\xef\xbb\xbf" + QUERY[20:],
        "two BOMs": b"\xef\xbb\xbf" * 2 + QUERY, "HTML": b"<html><body>hello</body></html>",
        "XML 1.1": b"<?xml version='1.1'?>" + QUERY.replace(b"<soap:Body>", b"<soap:Body><a>&#1;</a>"), "gzip": bytes.fromhex("1f8b08000000000002ff") + b"x" * 100,
    }
    for name, body in outside.items():
        for path in PATHS:
            yield f"{name} at {path}", path, body


def encodings():
    """Encodings that are not offered, or announced and not used."""
    text = QUERY.decode()
    for name in ("UTF-7", "EBCDIC-CP-US", "ISO-2022-JP", "EUC-JP", "Shift_JIS", "UTF-32", "UCS-4", "GB18030", "HZ-GB-2312", "x-unknown", "ISO-8859-1/", "../../etc",
                 "UTF-16", "a" * 10000):
        yield f"declared {name[:20]}", "/registry", f"<?xml version='1.0' encoding='{name}'?>".encode() + QUERY
    yield "UTF-32", "/registry", text.encode("utf-32")
    yield "UTF-16 without BOM", "/registry", text.encode("utf-16-le")
    yield "UTF-16 with half a character", "/registry", text.encode("utf-16") + b"\0"
    yield "UTF-16 with a lone surrogate", "/registry", text.replace("<soap:Body>", "<soap:Body>~").encode("utf-16-le").replace(b"~\0", b"\x00\xd8").join((b"\xff\xfe", b""))
    yield "UTF-7", "/registry", b"+ADw-soap:Envelope+AD4-"
    yield "EBCDIC", "/registry", text.encode("cp500")
    yield "BOM of UTF-16 before UTF-8", "/registry", b"\xff\xfe" + QUERY


def envelopes():
    """Envelopes that are well-formed and wrong."""
    ns = xds.NS["soap"].encode()
    changes = {
        "SOAP 1.1": (ns, b"http://schemas.xmlsoap.org/soap/envelope/"), "no namespace": (b'xmlns:soap="' + ns + b'"', b'xmlns:soap="urn:x"'),
        "two Bodies": (b"</soap:Body>", b"</soap:Body><soap:Body/>"), "two Headers": (b"</soap:Header>", b"</soap:Header><soap:Header/>"),
        "Header behind": (b"</soap:Body>", b"</soap:Body><soap:Header/>"), "no Body": (b"soap:Body>", b"soap:Bodice>"), "two Actions": (
            b"<wsa:MessageID>", b"<wsa:Action>urn:x</wsa:Action><wsa:MessageID>"), "no Action": (b"wsa:Action", b"wsa:Auction"),
        "two MessageIDs": (b"<wsa:ReplyTo>", b"<wsa:MessageID>x</wsa:MessageID><wsa:ReplyTo>"), "unknown mustUnderstand": (
            b"<soap:Header>", b'<soap:Header><x:y xmlns:x="urn:x" soap:mustUnderstand="1"/>'), "empty Action": (b"urn:ihe:iti:2007:RegistryStoredQuery</wsa", b"</wsa"),
        "Action of another": (b"urn:ihe:iti:2007:RegistryStoredQuery<", b"urn:ihe:iti:2007:RegisterDocumentSet-b<"), "ReplyTo elsewhere": (
            b"http://www.w3.org/2005/08/addressing/anonymous", b"https://elsewhere.example/"), "two children of Body": (b"</soap:Body>", b"<a/></soap:Body>"),
        "Body within Body": (b"<soap:Body>", b"<soap:Body><soap:Body>"), "unknown query": (b"urn:uuid:14d4debf", b"urn:uuid:00000000"),
        "wrong returnType": (b'returnType="LeafClass"', b'returnType="Everything"'),
        "child of Envelope": (b"<soap:Header>", b"<a/><soap:Header>"),
    }
    for name, (old, new) in changes.items():
        yield name, "/registry", QUERY.replace(old, new)
    for path in ("/pix", "/repository", "/nothing"):
        yield f"query at {path}", path, QUERY


def inline_documents(random):
    """ITI-41 with documents in base64 that are none."""
    whole = xds.envelope(xds.ACTIONS["ITI-41"], submission().provide_xml(inline=True))
    start = whole.index(b">", whole.index(b":Document ")) + 1
    for name, content in {"no base64": b"%%%%", "one character": b"A", "padding inside": b"QQ==QQ==", "elements": b"<a/>", "NUL": b"QQ\0=", "wide": b"Q Q = =" * 9,
                          "UTF-16 letters": "ＱＱ＝＝".encode(), "never closed": b"QUFB" * 100000}.items():
        tail = b"" if name == "never closed" else whole[start:]
        yield f"inline document {name}", "/repository", whole[:start] + content + tail
    for place, content in truncations(random, whole, 40):
        yield f"ITI-41 cut at {place}", "/repository", content


def harmless():
    """What is odd, and may pass: nothing of it reaches the parser, or it is a value like others."""
    yield "17 MiB of comments", in_body(b"<!--" + b"x" * (17 << 20) + b"-->")
    yield "17 MiB of white space before it", b" " * (17 << 20) + QUERY
    yield "many comments", in_body(b"<!---->" * 2500000)
    yield "space before the declaration", b" <?xml version='1.0'?>" + QUERY
    yield "quotes in a value", QUERY.replace(b"HOSTILE", b"'') OR ''1''=''1")
    yield "wildcards in a value", QUERY.replace(b"HOSTILE", b"%_\\")


def cases(random):
    """All of them."""
    for name, body in harmless():
        yield Case("http", f"xml/{name}", post("/registry", SOAP_TYPE, body), False)
    for group in (doctypes(), sizes(), forms(), encodings(), envelopes(), inline_documents(random)):
        for name, path, body in group:
            yield Case("http", f"xml/{name}", post(path, SOAP_TYPE, body))
    for path, envelope in PATHS.items():
        for place, content in truncations(random, envelope, 25):
            yield Case("http", f"xml/cut at {place} at {path}", post(path, SOAP_TYPE, content))
        for number, content in mutations(random, envelope, 60):
            yield Case("http", f"xml/mutation {number} at {path}", post(path, SOAP_TYPE, content), False)
