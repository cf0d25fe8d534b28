"""Ways to attack an assertion: each gives a message, from a good assertion or a wrongly made one, that no server may accept."""

import base64
import hashlib
import re
import uuid

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from lxml import etree

from tests.harness import saml
from tests.harness.saml import AUDIENCE, BEARER, DS, EXC_C14N, MORE, SAML, WSSE, WSU, XMLENC, Signing, instant, security

EVIL = "evil-administrator"
NS = {"saml": SAML, "ds": DS}


def headers(name, *blocks):
    """A mutation that is a header."""
    return name, lambda envelope: saml.with_header(envelope, "".join(blocks))


# ------------------------------------------------------------------------------------------- what the identity provider would not say


def wrong_claims(idp):
    """Properly signed assertions that the rules refuse (ITI TF-2 3.40.4.1.2, 3.40.4.1.3)."""
    def no(name):
        return lambda text: text.replace(name, "")

    def confirmation(data="", method=BEARER):
        return f'<saml:SubjectConfirmation Method="{method}">{data}</saml:SubjectConfirmation>'

    def authn(at, more="", context=saml.PASSWORD):
        return (f'<saml:AuthnStatement {at}{more}><saml:AuthnContext><saml:AuthnContextClassRef>{context}'
                "</saml:AuthnContextClassRef></saml:AuthnContext></saml:AuthnStatement>")

    cases = {
        "version 1.9": {"version": "1.9"}, "version 1.1": {"version": "1.1"}, "no version": {"version": ""}, "version 2": {"version": "2"},
        "no id": {"id": ""}, "id is no name": {"id": "1abc"}, "id with quotes": {"id": "a')|//*[('"}, "id with blank": {"id": "a b"},
        "issued in 2117": {"issue_instant": "2117-01-01T00:00:00Z"}, "no issue instant": {"issue_instant": ""},
        "issue instant is no time": {"issue_instant": "yesterday"}, "issue instant without zone": {"issue_instant": "2026-01-01T00:00:00"},
        "issue instant on February 30": {"issue_instant": "2026-02-30T00:00:00Z"},
        "issued in an hour": {"issue_instant": instant(3600)}, "expired": {"not_on_or_after": instant(-200), "not_before": instant(-900)},
        "expired in 2010": {"not_before": "2010-01-01T00:00:00Z", "not_on_or_after": "2010-01-01T00:05:00Z"},
        "not yet valid": {"not_before": instant(3000), "not_on_or_after": instant(9000)},
        "ends before it begins": {"not_before": instant(100), "not_on_or_after": instant(50)},
        "no end": {"not_on_or_after": ""}, "end is no time": {"not_on_or_after": "tomorrow"},
        "no conditions": {"conditions_element": ""}, "empty conditions": {"conditions_element": "<saml:Conditions/>"},
        "no audience restriction": {"audiences": ()}, "other audience": {"audiences": (("https://other.example",),)},
        "empty audience": {"audiences": (("",),)}, "audience prefix": {"audiences": ((AUDIENCE + "/x",),)},
        "audience in other case": {"audiences": ((AUDIENCE.upper(),),)},
        "second restriction excludes us": {"audiences": ((AUDIENCE,), ("https://other.example",))},
        "restriction without audience": {"audiences": ((AUDIENCE,), ())},
        "unknown condition": {"conditions": '<saml:Condition xmlns:x="urn:x" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="x:C"/>'},
        "foreign condition": {"conditions": '<x:Only xmlns:x="urn:x"/>'},
        "no subject": {"subject": ""}, "empty subject": {"subject": "<saml:Subject/>"},
        "no name": {"subject": f"<saml:Subject>{confirmation()}</saml:Subject>"}, "empty name": {"name_id": ""},
        "blank name": {"name_id": "  "}, "name with element": {"name_id": "a<saml:Issuer/>b"},
        "two names": {"subject": f"<saml:Subject><saml:NameID>a</saml:NameID><saml:NameID>b</saml:NameID>{confirmation()}</saml:Subject>"},
        "no confirmation": {"confirmation": ""}, "sender vouches": {"confirmation": confirmation(method="urn:oasis:names:tc:SAML:2.0:cm:sender-vouches")},
        "confirmation without method": {"confirmation": "<saml:SubjectConfirmation/>"}, "SAML 1.1 bearer": {"confirmation": confirmation(
            method="urn:oasis:names:tc:SAML:1.0:cm:bearer")},
        "confirmation expired": {"confirmation": confirmation(f'<saml:SubjectConfirmationData NotOnOrAfter="{instant(-300)}"/>')},
        "confirmation not yet": {"confirmation": confirmation(f'<saml:SubjectConfirmationData NotBefore="{instant(3000)}"/>')},
        "confirmation time is none": {"confirmation": confirmation('<saml:SubjectConfirmationData NotOnOrAfter="soon"/>')},
        "holder of key without key": {"confirmation": confirmation(method=saml.HOLDER_OF_KEY)},
        "holder of another key": {"confirmation": confirmation(f"<saml:SubjectConfirmationData>{idp.key_info()}</saml:SubjectConfirmationData>"
                                                               .replace("<ds:KeyInfo>", f'<ds:KeyInfo xmlns:ds="{DS}">'), saml.HOLDER_OF_KEY)},
        "holder of key that is none": {"confirmation": confirmation(
            f'<saml:SubjectConfirmationData><ds:KeyInfo xmlns:ds="{DS}"><ds:X509Data><ds:X509Certificate>!!!</ds:X509Certificate></ds:X509Data>'
            "</ds:KeyInfo></saml:SubjectConfirmationData>", saml.HOLDER_OF_KEY)},
        "no authentication": {"authn": ""}, "two authentications": {"authn": authn(f'AuthnInstant="{instant()}"') * 2},
        "authenticated tomorrow": {"authn": authn(f'AuthnInstant="{instant(86400)}"')}, "no authentication instant": {"authn": authn("")},
        "session over": {"authn": authn(f'AuthnInstant="{instant()}"', f' SessionNotOnOrAfter="{instant(-200)}"')},
        "no authentication context": {"authn": f'<saml:AuthnStatement AuthnInstant="{instant()}"/>'},
        "internet protocol": {"context": "urn:oasis:names:tc:SAML:2.0:ac:classes:InternetProtocol"},
        "invalid context": {"context": "urn:oasis:names:tc:SAML:2.0:ac:classes:Invalid"}, "empty context": {"context": ""},
        "no issuer": {"issuer_element": ""}, "empty issuer": {"issuer_element": "<saml:Issuer/>"}, "unknown issuer": {"issuer": "https://nobody.example"},
        "issuer in other case": {"issuer": idp.issuer.upper()}, "two issuers": {"issuer_element": f"<saml:Issuer>{idp.issuer}</saml:Issuer>" * 2},
        "role without code": {"attributes": "<saml:AttributeStatement>" + saml.attribute(
            "urn:oasis:names:tc:xacml:2.0:subject:role", '<Role xmlns="urn:hl7-org:v3"/>') + "</saml:AttributeStatement>"},
        "two patients": {"attributes": saml.attribute_statement(saml.attribute("urn:oasis:names:tc:xacml:2.0:resource:resource-id", "a", "b"))},
        "patient twice": {"attributes": saml.attribute_statement(*[saml.attribute("urn:oasis:names:tc:xacml:2.0:resource:resource-id", "a")] * 2)},
        "nameless attribute": {"attributes": saml.attribute_statement(saml.attribute("", "a"))},
        "encrypted id": {"subject": f"<saml:Subject><saml:EncryptedID/>{confirmation()}</saml:Subject>"},
        "encrypted attribute": {"attributes": "<saml:AttributeStatement><saml:EncryptedAttribute/></saml:AttributeStatement>"},
        "unknown child": {"before_end": '<x:Child xmlns:x="urn:x"/>'}, "conditions last": {"conditions_element": "", "before_end":
            f'<saml:Conditions NotOnOrAfter="{instant(300)}"><saml:AudienceRestriction><saml:Audience>{AUDIENCE}</saml:Audience></saml:AudienceRestriction></saml:Conditions>'},
        "SAML 1.1 namespace": {"edit": lambda t: t.replace(SAML, "urn:oasis:names:tc:SAML:1.0:assertion")},
        "no namespace": {"edit": lambda t: re.sub(r"(</?)saml:", r"\1", t).replace(f' xmlns:saml="{SAML}"', "")},
        "unsigned": {"edit": no("%SIGNATURE%")},
    }
    for name, claims in cases.items():
        yield headers(name, security(idp.assertion(**claims)))


# ------------------------------------------------------------------------------------------------------------ algorithms and references


def wrong_signatures(idp, attacker):
    """Signatures in forms that are not on the list (XML Signature 1.1; the sheet's section 4)."""
    signings = {
        "rsa-sha1": Signing(method="rsa-sha1", method_uri=DS + "rsa-sha1"), "digest sha1": Signing(digest="sha1"),
        "hmac with the public key": Signing(method="hmac-sha256"), "hmac-sha1": Signing(method="hmac-sha1", method_uri=DS + "hmac-sha1"),
        "dsa": Signing(method_uri=DS + "dsa-sha1"), "rsa-md5": Signing(method_uri=MORE + "rsa-md5"), "no method": Signing(method_uri=" "),
        "ecdsa uri over rsa": Signing(method_uri=MORE + "ecdsa-sha256"), "sha384 uri over sha256": Signing(method_uri=MORE + "rsa-sha384"),
        "rsa-sha224": Signing(method_uri=MORE + "rsa-sha224"), "md5 digest": Signing(digest_uri=MORE + "md5"),
        "sha512 digest uri over sha256": Signing(digest_uri=XMLENC + "sha512"), "no digest uri": Signing(digest_uri=" "),
        "inclusive canonicalization": Signing(canonicalization=saml.C14N), "unknown canonicalization": Signing(canonicalization="urn:x"),
        "no transforms": Signing(transforms=()), "only enveloped": Signing(transforms=(saml.ENVELOPED,)),
        "only exclusive": Signing(transforms=(EXC_C14N,)), "wrong order": Signing(transforms=(EXC_C14N, saml.ENVELOPED)),
        "three transforms": Signing(transforms=(saml.ENVELOPED, EXC_C14N, EXC_C14N)), "inclusive transform": Signing(transforms=(saml.ENVELOPED, saml.C14N)),
        "xslt": Signing(transforms=(saml.ENVELOPED, "http://www.w3.org/TR/1999/REC-xslt-19991116")),
        "xpath": Signing(transforms=(saml.ENVELOPED, "http://www.w3.org/TR/1999/REC-xpath-19991116")),
        "xpath filter": Signing(transforms=("http://www.w3.org/2002/06/xmldsig-filter2", EXC_C14N)),
        "base64 transform": Signing(transforms=(saml.ENVELOPED, DS + "base64")), "empty reference": Signing(reference=""),
        "bare fragment": Signing(reference="#"), "other id": Signing(reference="#other"), "file": Signing(reference="file:///etc/passwd"),
        "http": Signing(reference="http://127.0.0.1:1/x"), "xpointer root": Signing(reference="#xpointer(/)"), "cid": Signing(reference="cid:a@b"),
        "second reference": Signing(references=f'<ds:Reference URI=""><ds:DigestMethod Algorithm="{XMLENC}sha256"/><ds:DigestValue>AA==</ds:DigestValue></ds:Reference>'),
        "object": Signing(objects="<ds:Object>x</ds:Object>"), "manifest": Signing(objects="<ds:Object><ds:Manifest/></ds:Object>"),
        "retrieval method": Signing(key_info='<ds:KeyInfo><ds:RetrievalMethod URI="http://127.0.0.1:1/key"/></ds:KeyInfo>'),
        "certificate of another": Signing(key_info=attacker.key_info()),
        "certificate that is none": Signing(key_info="<ds:KeyInfo><ds:X509Data><ds:X509Certificate>AAAA</ds:X509Certificate></ds:X509Data></ds:KeyInfo>"),
        "key value without modulus": Signing(key_info="<ds:KeyInfo><ds:KeyValue><ds:RSAKeyValue><ds:Exponent>AQAB</ds:Exponent></ds:RSAKeyValue></ds:KeyValue></ds:KeyInfo>"),
        "empty key value": Signing(key_info="<ds:KeyInfo><ds:KeyValue/></ds:KeyInfo>"),
        "key value of another": Signing(key_info=key_value(attacker)),
    }
    for name, signing in signings.items():
        yield headers(name, security(idp.assertion(signing)))
    for name, info in (("attacker's key", None), ("attacker's key value", key_value(attacker)), ("attacker's key, our certificate", idp.key_info()),
                       ("attacker's key, no key info", "")):
        yield headers(name, security(attacker.assertion(Signing(key_info=info), issuer=idp.issuer)))
    weak = saml.IdentityProvider(idp.issuer, rsa.generate_private_key(public_exponent=65537, key_size=1024))
    curve = saml.IdentityProvider(idp.issuer, ec.generate_private_key(ec.SECP256R1()))
    yield headers("weak key", security(weak.assertion()))
    yield headers("curve key of nobody", security(curve.assertion(Signing(method="ecdsa-sha256"))))
    good = idp.assertion()
    for name, old, new in (("hmac length", f'Algorithm="{MORE}rsa-sha256"/>', f'Algorithm="{MORE}rsa-sha256"><ds:HMACOutputLength>1</ds:HMACOutputLength></ds:SignatureMethod>'),
                           ("transform with stylesheet", f'<ds:Transform Algorithm="{EXC_C14N}"></ds:Transform>',
                            f'<ds:Transform Algorithm="{EXC_C14N}"><xsl:stylesheet xmlns:xsl="http://www.w3.org/1999/XSL/Transform" version="1.0"/></ds:Transform>'),
                           ("no signature value", "<ds:SignatureValue>", "<ds:SignatureValue/><ds:Other>"), ("no signed info", "ds:SignedInfo", "ds:OtherInfo"),
                           ("signature namespace", f'<ds:Signature xmlns:ds="{DS}"', '<ds:Signature xmlns:ds="urn:x"'),
                           ("no digest value", "ds:DigestValue", "ds:OtherValue"), ("empty signature value", None, None)):
        text = re.sub(r"<ds:SignatureValue>[^<]*<", "<ds:SignatureValue><", good) if old is None else good.replace(old, new)
        text = text.replace("</ds:SignatureValue>", "</ds:Other>") if name == "no signature value" else text
        yield headers(name, security(text))


def key_value(provider):
    """KeyInfo with an RSAKeyValue."""
    numbers = provider.key.public_key().public_numbers()
    modulus = base64.b64encode(numbers.n.to_bytes(256, "big")).decode()
    return f"<ds:KeyInfo><ds:KeyValue><ds:RSAKeyValue><ds:Modulus>{modulus}</ds:Modulus><ds:Exponent>AQAB</ds:Exponent></ds:RSAKeyValue></ds:KeyValue></ds:KeyInfo>"


# ------------------------------------------------------------------------------------------------------------------- every signed value


def changed_values(idp):
    """Each text and each attribute of a good assertion changed after signing, one at a time."""
    good = idp.assertion()
    count = len(list(places(etree.fromstring(good))))
    for number in range(count):
        root = etree.fromstring(good)
        element, attribute = list(places(root))[number]
        value = element.text if attribute is None else element.get(attribute)
        new = ("B" if value[0] == "A" else "A") + value[1:]
        if attribute is None:
            element.text = new
        else:
            element.set(attribute, new)
        name = f"{etree.QName(element).localname}{'' if attribute is None else '/@' + etree.QName(attribute).localname} #{number}"
        yield headers("changed " + name, security(etree.tostring(root).decode()))
    for number, element in enumerate(etree.fromstring(good).iter()):
        if number == 0 or etree.QName(element).localname == "KeyInfo" or element.xpath("ancestor::ds:KeyInfo", namespaces=NS):
            continue
        root = etree.fromstring(good)
        gone = list(root.iter())[number]
        gone.getparent().remove(gone)
        yield headers(f"without {etree.QName(element).localname} #{number}", security(etree.tostring(root).decode()))


def places(root):
    """Texts and attributes of an assertion that its signature covers or is made of."""
    for element in root.iter():
        if element.xpath("ancestor-or-self::ds:KeyInfo", namespaces=NS):
            continue
        if element.text and element.text.strip():
            yield element, None
        for attribute in element.attrib:
            yield element, attribute


# ------------------------------------------------------------------------------------------------------------------- signature wrapping


def wrapping(idp):
    """XSW 1 to 8 as far as they exist without a Response: a forged assertion stands where it is looked for, the signed one elsewhere."""
    good = idp.assertion()
    bare = re.sub(r"<ds:Signature .*</ds:Signature>", "", good, flags=re.S)
    signature = re.search(r"<ds:Signature .*</ds:Signature>", good, re.S).group(0)
    ident = re.search(r' ID="([^"]+)"', good).group(1)

    def forged(new_id, inner="", end="", with_signature=""):
        text = bare.replace("tanaka", EVIL)
        text = text.replace(f' ID="{ident}"', f' ID="{new_id}"' if new_id else "")
        text = text.replace("</saml:Issuer>", "</saml:Issuer>" + with_signature + inner, 1)
        return text.replace("</saml:Assertion>", end + "</saml:Assertion>")

    wrapper = "<x:Wrapper xmlns:x=\"urn:x\">%s</x:Wrapper>"
    for kind, new_id in (("same id", ident), ("new id", f"_{uuid.uuid4().hex}"), ("no id", "")):
        with_object = signature.replace("</ds:Signature>", f"<ds:Object>{good}</ds:Object></ds:Signature>")
        object_of_bare = signature.replace("</ds:Signature>", f"<ds:Object>{bare}</ds:Object></ds:Signature>")
        forms = {
            "XSW1 signed inside the signature's object": security(forged(new_id, with_signature=with_object)),
            "XSW2 signature beside, signed bare": security(forged(new_id), bare, signature),
            "XSW3 forged before signed": security(forged(new_id), good), "XSW3 signed before forged": security(good, forged(new_id)),
            "XSW4 signed inside forged": security(forged(new_id, end=good)), "XSW4 signed first inside forged": security(forged(new_id, inner=good)),
            "XSW5 signature moved to forged": security(forged(new_id, with_signature=signature), bare),
            "XSW6 bare inside the moved signature": security(forged(new_id, with_signature=object_of_bare)),
            "XSW7 signed inside extensions": security(forged(new_id), wrapper % good), "XSW7 extensions first": security(wrapper % good, forged(new_id)),
            "XSW8 signed inside an object beside": security(forged(new_id), f'<ds:Signature xmlns:ds="{DS}"><ds:Object>{good}</ds:Object></ds:Signature>'),
            "in advice": security(forged(new_id, end=f"<saml:Advice>{good}</saml:Advice>")),
            "forged in the advice of nothing": security(wrapper % forged(new_id) + good),
            "signed in a header of its own": (wrapper % good) + security(forged(new_id)),
            "forged in a header of its own": security(good) + (wrapper % forged(new_id)),
            "two security headers": security(good) + security(forged(new_id)), "two security headers, forged first": security(forged(new_id)) + security(good),
            "signed for another role": security(good, attributes=' soap:role="urn:other"') + security(forged(new_id)),
        }
        for name, header in forms.items():
            yield headers(f"{name}, {kind}", header)
        yield f"signed in the body, {kind}", lambda envelope, f=forged(new_id): saml.with_header(
            envelope.replace(b"<soap:Body>", b"<soap:Body>" + good.encode()), security(f))
        yield f"forged in the body's request, {kind}", lambda envelope, f=forged(new_id): saml.with_header(
            envelope.replace(b"</query:AdhocQueryRequest>", f.encode() + b"</query:AdhocQueryRequest>"), security(good))


# ----------------------------------------------------------------------------------------------------------------------- ids, text, XML


def duplicate_ids(idp):
    """The assertion's ID once more, under every name that some reader takes for one."""
    good = idp.assertion()
    ident = re.search(r' ID="([^"]+)"', good).group(1)
    for attribute in (f'ID="{ident}"', f'Id="{ident}"', f'id="{ident}"', f'wsu:Id="{ident}" xmlns:wsu="{WSU}"', f'xml:id="{ident}"'):
        name = attribute.split("=")[0]
        yield headers(f"{name} on the security header", security(good, attributes=" " + attribute))
        yield headers(f"{name} beside the assertion", security(f'<x:X xmlns:x="urn:x" {attribute}/>', good))
        yield headers(f"{name} in another header", f'<x:X xmlns:x="urn:x" {attribute}/>', security(good))
        yield f"{name} on the body", lambda envelope, a=attribute: saml.with_header(
            envelope.replace(b"<soap:Body>", f"<soap:Body {a}>".encode()), security(good))
        yield f"{name} on the envelope", lambda envelope, a=attribute: saml.with_header(
            envelope.replace(b"<soap:Envelope", f"<soap:Envelope {a}".encode()), security(good))
        yield headers(f"{name} on the signature", security(good.replace("<ds:SignedInfo", f"<ds:SignedInfo {attribute}")))
        if name != "ID":
            yield headers(f"{name} on the assertion", security(good.replace("<saml:Assertion", f"<saml:Assertion {attribute}", 1)))


def text_tricks(idp):
    """What the signature does not cover, and what changes how the text is read."""
    good = idp.assertion()
    evil = idp.assertion(name_id="admin.evil")
    for name, text in {
        "comment cuts the name": evil.replace("admin.evil", "admin<!-- -->.evil"), "comment before the name": good.replace(">tanaka", "><!---->tanaka"),
        "comment in the issuer": good.replace("https://idp", "https://<!-- x -->idp"), "comment in the audience": good.replace(AUDIENCE, AUDIENCE + "<!--x-->"),
        "comment in the digest": good.replace("<ds:DigestValue>", "<ds:DigestValue><!--x-->"), "comment in the role": good.replace("<Role", "<!--x--><Role"),
        "comment between": good.replace("<saml:Subject>", "<!--x--><saml:Subject>"), "comment at the end": good.replace("</saml:Assertion>", "<!--x--></saml:Assertion>"),
        "processing instruction": good.replace("tanaka", "tana<?x?>ka"), "undeclared entity": good.replace("tanaka", "tana&x;ka"),
        "name in other namespace": good.replace("<saml:NameID>", '<saml:NameID xmlns:saml="urn:x">'), "prefix bound anew": good.replace(
            "<saml:Subject>", '<saml:Subject xmlns:saml="urn:x">'), "attribute namespace": good.replace(' Version="2.0"', ' saml:Version="2.0"'),
        "element in the name": good.replace("tanaka", "tana<b/>ka"), "blank in the name": good.replace("tanaka", "tanaka "),
        "text beside elements": good.replace("<saml:Subject>", "<saml:Subject>x"), "unused namespace on a signed child that is used": good.replace(
            "<saml:NameID>", '<saml:NameID xmlns:x="urn:x" x:a="1">'), "cdata with other text": good.replace("tanaka", "<![CDATA[tanakb]]>"),
        "homoglyph": good.replace("tanaka", "tan\u0430ka"), "zero width space": good.replace("tanaka", "tan\u200baka"),
    }.items():
        yield headers(name, security(text))
    for name, doctype in {"DTD": "<!DOCTYPE x>", "entity": '<!DOCTYPE x [<!ENTITY a "tanaka">]>', "ID declared by DTD":
                          f'<!DOCTYPE x [<!ATTLIST x ID ID #IMPLIED>]>', "external DTD": '<!DOCTYPE x SYSTEM "file:///etc/passwd">',
                          "external entity": '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>',
                          "billion laughs": '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;&a;">]>'}.items():
        yield name, lambda envelope, d=doctype: d.encode() + saml.with_header(envelope, security(good))
    yield "stylesheet instruction", lambda envelope: b'<?xml-stylesheet href="x"?>' + saml.with_header(envelope, security(good))
    yield "UTF-16", lambda envelope: saml.with_header(envelope, security(good)).decode().encode("utf-16")
    yield headers("header of 300 KiB", security(good + "<x/>" + "y" * 300 * 1024))
    yield headers("header of 5000 elements", security(good + '<x:x xmlns:x="urn:x"/>' * 5000))


def wrong_headers(idp):
    """The header itself (WS-Security 1.1)."""
    good = idp.assertion()
    yield headers("no assertion", security())
    yield "no header", lambda envelope: envelope
    yield headers("only for another role", security(good, attributes=' soap:role="urn:other"'))
    yield headers("user name", security(f"<wsse:UsernameToken><wsse:Username>tanaka</wsse:Username></wsse:UsernameToken>"))
    yield headers("binary token", security(f"<wsse:BinarySecurityToken>{base64.b64encode(good.encode()).decode()}</wsse:BinarySecurityToken>"))
    yield headers("encrypted assertion", security(f'<saml:EncryptedAssertion xmlns:saml="{SAML}"/>'))
    yield headers("encrypted assertion beside", security(good, f'<saml:EncryptedAssertion xmlns:saml="{SAML}"/>'))
    yield headers("assertion in a wrapper", security(f'<x:W xmlns:x="urn:x">{good}</x:W>'))
    yield headers("assertion without security", good)
    yield headers("security of another namespace", security(good).replace(WSSE, WSSE + "x").replace(' soap:mustUnderstand="1"', ""))
    yield headers("the same assertion twice", security(good, good))
    yield headers("two assertions", security(good, idp.assertion()))
    yield headers("two security headers of one assertion", security(good) + security(good))
    yield headers("message expired", security(saml.timestamp(-900, -300), good))
    yield headers("message of tomorrow", security(saml.timestamp(86400, 90000), good))
    yield headers("timestamp is none", security(saml.timestamp().replace("<wsu:Created>", "<wsu:Created>x"), good))
    yield headers("two timestamps", security(saml.timestamp(), saml.timestamp(), good))
    yield headers("two ends", security(saml.timestamp().replace("</wsu:Timestamp>", f"<wsu:Expires>{instant(9)}</wsu:Expires></wsu:Timestamp>"), good))
    yield "assertion in the body", lambda envelope: envelope.replace(b"<soap:Body>", b"<soap:Body>" + security(good).encode())
    yield "security in the body's request", lambda envelope: envelope.replace(b"<rim:AdhocQuery", security(good).encode() + b"<rim:AdhocQuery")


def digest_tricks(idp):
    """The digest or the signature of something else."""
    other = idp.assertion(name_id="suzuki")
    good = idp.assertion()
    signature = re.compile(r"<ds:Signature .*</ds:Signature>", re.S)
    yield headers("signature of another assertion", security(signature.sub(signature.search(other).group(0), good)))
    value = re.compile(r"<ds:SignatureValue>([^<]*)<")
    yield headers("signature value of another assertion", security(good.replace(value.search(good).group(1), value.search(other).group(1))))
    forged = good.replace("tanaka", EVIL)
    element = etree.fromstring(signature.sub("", forged))
    new = base64.b64encode(hashlib.sha256(saml.canonical(element)).digest()).decode()
    yield headers("digest made anew", security(re.sub(r"<ds:DigestValue>[^<]*<", f"<ds:DigestValue>{new}<", forged)))
    yield headers("signature truncated", security(re.sub(r"<ds:SignatureValue>[^<]{8}", "<ds:SignatureValue>", good)))
    yield headers("signature of zeros", security(re.sub(r"<ds:SignatureValue>[^<]*<", f"<ds:SignatureValue>{base64.b64encode(bytes(256)).decode()}<", good)))


def batches(idp, attacker):
    """All of them: {name of the batch: [(name, function from envelope to message)]}."""
    return {
        "claims": list(wrong_claims(idp)), "signatures": list(wrong_signatures(idp, attacker)), "values": list(changed_values(idp)),
        "wrapping": list(wrapping(idp)), "ids": list(duplicate_ids(idp)), "text": list(text_tricks(idp)), "headers": list(wrong_headers(idp)),
        "digests": list(digest_tricks(idp)),
    }
