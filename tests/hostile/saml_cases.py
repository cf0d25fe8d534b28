"""wsse:Security headers with assertions that are wrapped, doubled, bent or unsigned (SAML 2.0; XML Signature).

None of these is signed by anybody that a server may trust.
"""

import base64

from tests.hostile.case import Case, SOAP_TYPE, mutations, post, query, truncations

QUERY = query()
WSSE = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd"
SAML = "urn:oasis:names:tc:SAML:2.0:assertion"
DS = "http://www.w3.org/2000/09/xmldsig#"
JUNK = base64.b64encode(b"x" * 256).decode()
EXC = "http://www.w3.org/2001/10/xml-exc-c14n#"
RSA = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"
SHA = "http://www.w3.org/2001/04/xmlenc#sha256"


def signature(uri="#a1", method=RSA, digest=SHA, transforms=(DS + "enveloped-signature", EXC), c14n=EXC, references=1, inside="", key=""):
    """A ds:Signature with a junk value."""
    steps = "".join(f'<ds:Transform Algorithm="{t}">{inside}</ds:Transform>' for t in transforms)
    reference = (f'<ds:Reference URI="{uri}"><ds:Transforms>{steps}</ds:Transforms><ds:DigestMethod Algorithm="{digest}"/>'
                 f"<ds:DigestValue>{JUNK[:44]}</ds:DigestValue></ds:Reference>")
    return (f'<ds:Signature xmlns:ds="{DS}"><ds:SignedInfo><ds:CanonicalizationMethod Algorithm="{c14n}"/>'
            f'<ds:SignatureMethod Algorithm="{method}"/>{reference * references}</ds:SignedInfo>'
            f"<ds:SignatureValue>{JUNK}</ds:SignatureValue>{key}</ds:Signature>")


def assertion(sign="", identifier="a1", inner="", name="doctor", version="2.0", attributes=""):
    """An assertion with a signature behind its issuer."""
    return (f'<saml:Assertion xmlns:saml="{SAML}" ID="{identifier}" Version="{version}" IssueInstant="2026-01-01T00:00:00Z">'
            f"<saml:Issuer>urn:idp</saml:Issuer>{sign}<saml:Subject><saml:NameID>{name}</saml:NameID></saml:Subject>{inner}"
            f'<saml:AuthnStatement AuthnInstant="2026-01-01T00:00:00Z"/><saml:AttributeStatement>{attributes}</saml:AttributeStatement></saml:Assertion>')


def header(inner, count=1):
    """The query with wsse:Security headers."""
    security = f'<wsse:Security xmlns:wsse="{WSSE}">{inner}</wsse:Security>'
    return QUERY.replace(b"</soap:Header>", (security * count).encode() + b"</soap:Header>")


def shapes():
    """Where the signed and the used assertion could differ, and what a careless library would fetch or run."""
    signed = assertion(signature())
    evil = assertion(identifier="evil")
    yield "unsigned", header(assertion())
    yield "junk signature", header(signed)
    yield "evil before signed", header(evil + signed)
    yield "evil behind signed", header(signed + evil)
    yield "signed within evil", header(assertion(identifier="evil", inner=signed))
    yield "evil within signed", header(assertion(signature(), inner=evil))
    yield "signed in an Object", header(assertion(signature().replace("</ds:Signature>", f"<ds:Object>{signed}</ds:Object></ds:Signature>"), "evil"))
    yield "signed in an extension", header(assertion(inner=f"<saml:Advice>{signed}</saml:Advice>", identifier="evil"))
    yield "same id twice", header(signed + assertion(name="admin"))
    yield "id on another element", header('<x ID="a1"/>' + signed)
    yield "signature beside", header(signature() + assertion())
    yield "signature of nobody", header(signature("#nobody") + assertion())
    yield "empty reference", header(assertion(signature("")))
    yield "reference to everything", header(assertion(signature("#xpointer(/)")))
    yield "two references", header(assertion(signature(references=2)))
    yield "a thousand references", header(assertion(signature(references=1000)))
    yield "a hundred transforms", header(assertion(signature(transforms=(EXC,) * 100)))
    for uri in ("file:///etc/passwd", "http://127.0.0.1:1/x", "ftp://127.0.0.1/x", "#xpointer(id('a1'))", "#a1'", "cid:x", "//x/y"):
        yield f"reference {uri}", header(assertion(signature(uri)))
    for method in (DS + "hmac-sha1", "http://www.w3.org/2001/04/xmldsig-more#hmac-sha256", DS + "rsa-sha1", "http://www.w3.org/2001/04/xmldsig-more#rsa-md5",
                   DS + "dsa-sha1", "urn:none", ""):
        yield f"method {method}", header(assertion(signature(method=method)))
    for step in ("http://www.w3.org/TR/1999/REC-xslt-19991116", "http://www.w3.org/TR/1999/REC-xpath-19991116", "http://www.w3.org/2002/06/xmldsig-filter2",
                 DS + "base64", "http://www.w3.org/2002/07/decrypt#XML", "urn:none", "http://www.w3.org/2001/10/xml-exc-c14n#WithComments",
                 "http://www.w3.org/TR/2001/REC-xml-c14n-20010315"):
        yield f"transform {step}", header(assertion(signature(transforms=(step,))))
    xslt = ('<x:stylesheet xmlns:x="http://www.w3.org/1999/XSL/Transform" version="1.0"><x:template match="/"><x:for-each select="//*">'
            '<x:for-each select="//*"><x:for-each select="//*"/></x:for-each></x:for-each></x:template></x:stylesheet>')
    yield "XSLT loop", header(assertion(signature(transforms=("http://www.w3.org/TR/1999/REC-xslt-19991116",), inside=xslt)))
    xpath = f'<ds:XPath xmlns:ds="{DS}">count(//*[count(//*[count(//*) > 0]) > 0]) > 0</ds:XPath>'
    yield "XPath loop", header(assertion(signature(transforms=("http://www.w3.org/TR/1999/REC-xpath-19991116",), inside=xpath)))
    yield "c14n with namespaces", header(assertion(signature(c14n=EXC)).replace("<saml:Issuer>", "<saml:Issuer " + " ".join(f'xmlns:n{n}="u{n}"' for n in range(60)) + ">"))
    for key in (f'<ds:KeyInfo><ds:KeyValue><ds:RSAKeyValue><ds:Modulus>{JUNK}</ds:Modulus><ds:Exponent>AQAB</ds:Exponent></ds:RSAKeyValue></ds:KeyValue></ds:KeyInfo>',
                f"<ds:KeyInfo><ds:X509Data><ds:X509Certificate>{JUNK * 100}</ds:X509Certificate></ds:X509Data></ds:KeyInfo>",
                '<ds:KeyInfo><ds:RetrievalMethod URI="http://127.0.0.1:1/key"/></ds:KeyInfo>', "<ds:KeyInfo><ds:KeyName>file:///etc/passwd</ds:KeyName></ds:KeyInfo>"):
        yield f"key {key[13:30]}", header(assertion(signature(key=key)))


def contents():
    """Assertions whose content is bent."""
    for name in ("doc<!-- -->tor", "doctor\u202e", "", " " * 1000, "a" * 100000, "doctor&#10;admin", "<![CDATA[doctor]]>", "<b>doctor</b>"):
        yield f"name {name[:20]!r}", header(assertion(name=name))
    for version in ("1.1", "3.0", "", "2.0\u00a0"):
        yield f"version {version!r}", header(assertion(version=version))
    for identifier in ("", "1a", "a b", "a" * 70000, "&#0;"):
        yield f"id {identifier[:10]!r}", header(assertion(identifier=identifier))
    yield "no assertion", header("")
    yield "two headers", header(assertion(), 2)
    yield "fifty headers", header(assertion(), 50)
    yield "a hundred assertions", header(assertion() * 100)
    yield "SAML 1.1", header('<saml:Assertion xmlns:saml="urn:oasis:names:tc:SAML:1.0:assertion" AssertionID="a1"/>')
    yield "encrypted", header(f'<saml:EncryptedAssertion xmlns:saml="{SAML}"><x:EncryptedData xmlns:x="http://www.w3.org/2001/04/xmlenc#"/></saml:EncryptedAssertion>')
    yield "user name", header("<wsse:UsernameToken><wsse:Username>admin</wsse:Username><wsse:Password>admin</wsse:Password></wsse:UsernameToken>")
    yield "binary token", header(f"<wsse:BinarySecurityToken>{JUNK}</wsse:BinarySecurityToken>")
    yield "in another namespace", header(assertion()).replace(WSSE.encode(), b"urn:other")
    yield "no Issuer", header(assertion().replace("<saml:Issuer>urn:idp</saml:Issuer>", ""))
    yield "20000 attributes", header(assertion(attributes='<saml:Attribute Name="a"><saml:AttributeValue>b</saml:AttributeValue></saml:Attribute>' * 20000))
    yield "deep value", header(assertion(attributes="<a>" * 200 + "</a>" * 200))
    yield "in the Body", QUERY.replace(b"<soap:Body>", b"<soap:Body>" + assertion().encode())
    yield "doctype", b"<!DOCTYPE x [<!ATTLIST saml:Assertion ID ID #IMPLIED>]>" + header(assertion(signature()))


def cases(random):
    """All of them. A server that asks for no assertion (xua = off) may pass over the header."""
    for name, body in (*shapes(), *contents()):
        yield Case("http", f"saml/{name}", post("/registry", SOAP_TYPE, body), False)
    whole = header(assertion(signature()))
    for place, content in truncations(random, whole, 30):
        yield Case("http", f"saml/cut at {place}", post("/registry", SOAP_TYPE, content))
    for number, content in mutations(random, whole, 60):
        yield Case("http", f"saml/mutation {number}", post("/registry", SOAP_TYPE, content), False)
