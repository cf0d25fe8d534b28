"""An identity provider for tests: SAML 2.0 assertions as XUA has them (ITI TF-2 3.40.4.1.2), signed with cryptography and lxml.

Shares no code with the server. What a test wants to be wrong is an argument, or an edit of the text before or after signing.
"""

import base64
import dataclasses
import datetime
import hashlib
import uuid

from cryptography import x509
from cryptography.hazmat.primitives import hashes, hmac, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import NameOID
from lxml import etree

SAML = "urn:oasis:names:tc:SAML:2.0:assertion"
DS = "http://www.w3.org/2000/09/xmldsig#"
MORE = "http://www.w3.org/2001/04/xmldsig-more#"
XMLENC = "http://www.w3.org/2001/04/xmlenc#"
EXC_C14N = "http://www.w3.org/2001/10/xml-exc-c14n#"
C14N = "http://www.w3.org/TR/2001/REC-xml-c14n-20010315"
ENVELOPED = DS + "enveloped-signature"
WSSE = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd"
WSU = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd"
SOAP = "http://www.w3.org/2003/05/soap-envelope"
BEARER = "urn:oasis:names:tc:SAML:2.0:cm:bearer"
HOLDER_OF_KEY = "urn:oasis:names:tc:SAML:2.0:cm:holder-of-key"
PASSWORD = "urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport"
AUDIENCE = "https://musubi.example/xua"

SIGNATURES = {"rsa-sha256": hashes.SHA256, "rsa-sha384": hashes.SHA384, "rsa-sha512": hashes.SHA512, "rsa-sha1": hashes.SHA1,
              "ecdsa-sha256": hashes.SHA256, "ecdsa-sha384": hashes.SHA384, "ecdsa-sha512": hashes.SHA512}
DIGESTS = {"sha1": (DS + "sha1", hashlib.sha1), "sha256": (XMLENC + "sha256", hashlib.sha256),
           "sha384": (MORE + "sha384", hashlib.sha384), "sha512": (XMLENC + "sha512", hashlib.sha512)}


def instant(offset_s=0):
    """An xs:dateTime so many seconds from now."""
    moment = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=offset_s)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def canonical(element, prefixes=()):
    """Exclusive canonical XML without comments."""
    return etree.tostring(element, method="c14n", exclusive=True, with_comments=False, inclusive_ns_prefixes=list(prefixes) or None)


@dataclasses.dataclass
class Claims:
    """What an assertion says; every part can be replaced, and left out with ""."""

    issuer: str = "https://idp.musubi.example"
    name_id: str = "tanaka"
    name_id_attributes: str = ""
    version: str = "2.0"
    id: str = None
    issue_instant: str = None
    not_before: str = None
    not_on_or_after: str = None
    audiences: tuple = ((AUDIENCE,),)  # one AudienceRestriction for each
    conditions: str = ""  # further ones
    confirmation: str = f'<saml:SubjectConfirmation Method="{BEARER}"/>'
    context: str = PASSWORD
    authn: str = None  # the whole AuthnStatement
    attributes: str = None  # the whole AttributeStatement
    subject: str = None  # the whole Subject
    conditions_element: str = None  # the whole Conditions
    issuer_element: str = None
    before_end: str = ""  # behind the last statement

    def text(self):
        """The unsigned assertion; %SIGNATURE% stands where the signature goes."""
        ident = f"_{uuid.uuid4().hex}" if self.id is None else self.id
        issue = instant() if self.issue_instant is None else self.issue_instant
        before = instant(-5) if self.not_before is None else self.not_before
        after = instant(300) if self.not_on_or_after is None else self.not_on_or_after
        restrictions = "".join("<saml:AudienceRestriction>" + "".join(f"<saml:Audience>{a}</saml:Audience>" for a in group)
                               + "</saml:AudienceRestriction>" for group in self.audiences)
        issuer = f"<saml:Issuer>{self.issuer}</saml:Issuer>" if self.issuer_element is None else self.issuer_element
        subject = self.subject if self.subject is not None else (
            f"<saml:Subject><saml:NameID{self.name_id_attributes}>{self.name_id}</saml:NameID>{self.confirmation}</saml:Subject>")
        times = (f' NotBefore="{before}"' if before else "") + (f' NotOnOrAfter="{after}"' if after else "")
        conditions = self.conditions_element if self.conditions_element is not None else (
            f"<saml:Conditions{times}>{restrictions}{self.conditions}</saml:Conditions>")
        authn = self.authn if self.authn is not None else (
            f'<saml:AuthnStatement AuthnInstant="{instant(-10)}"><saml:AuthnContext><saml:AuthnContextClassRef>{self.context}'
            "</saml:AuthnContextClassRef></saml:AuthnContext></saml:AuthnStatement>")
        attributes = attribute_statement() if self.attributes is None else self.attributes
        head = "".join(f' {name}="{value}"' for name, value in
                       (("ID", ident), ("IssueInstant", issue), ("Version", self.version)) if value)
        return (f'<saml:Assertion xmlns:saml="{SAML}"{head}>{issuer}%SIGNATURE%{subject}{conditions}{authn}{attributes}'
                f"{self.before_end}</saml:Assertion>")


def attribute(name, *values):
    """One Attribute; values are XML."""
    inner = "".join(f"<saml:AttributeValue>{value}</saml:AttributeValue>" for value in values)
    return f'<saml:Attribute Name="{name}" NameFormat="urn:oasis:names:tc:SAML:2.0:attrname-format:uri">{inner}</saml:Attribute>'


def coded(element, code, system, display, text=None):
    """A CE element as Subject-Role and PurposeOfUse have it; text is what the user wrote."""
    content = f"><originalText>{text}</originalText></{element}>" if text else "/>"
    return (f'<{element} xmlns="urn:hl7-org:v3" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="CE" code="{code}" '
            f'codeSystem="{system}" displayName="{display}"{content}')


def attribute_statement(*more):
    """The usual attributes: name, organization, role, purpose of use."""
    return "<saml:AttributeStatement>" + "".join((
        attribute("urn:oasis:names:tc:xspa:1.0:subject:subject-id", "Tanaka Hanako"),
        attribute("urn:oasis:names:tc:xspa:1.0:subject:organization", "Hospital A"),
        attribute("urn:oasis:names:tc:xspa:1.0:subject:organization-id", "urn:oid:1.2.392.99999.1"),
        attribute("urn:oasis:names:tc:xacml:2.0:subject:role",
                  coded("Role", "physician", "1.2.392.99999.2", "Physician")),
        attribute("urn:oasis:names:tc:xspa:1.0:subject:purposeofuse",
                  coded("PurposeOfUse", "TREATMENT", "2.16.840.1.113883.3.18.7.1", "Treatment")), *more)) + "</saml:AttributeStatement>"


@dataclasses.dataclass
class Signing:
    """How it is signed."""

    method: str = "rsa-sha256"
    digest: str = "sha256"
    method_uri: str = None
    digest_uri: str = None
    canonicalization: str = EXC_C14N
    transforms: tuple = (ENVELOPED, EXC_C14N)
    prefixes: str = ""  # InclusiveNamespaces
    reference: str = None  # instead of #ID
    references: str = ""  # further Reference elements
    key_info: str = None
    objects: str = ""  # behind KeyInfo


class IdentityProvider:
    """A key, its certificate, and assertions signed with it."""

    def __init__(self, issuer="https://idp.musubi.example", key=None, days=30):
        self.issuer = issuer
        self.key = key or rsa.generate_private_key(public_exponent=65537, key_size=2048)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Musubi test identity provider")])
        now = datetime.datetime.utcnow()
        self.certificate = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(self.key.public_key())
                            .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=1))
                            .not_valid_after(now + datetime.timedelta(days=days)).sign(self.key, hashes.SHA256()))

    @classmethod
    def with_curve(cls, **options):
        """One that signs with ECDSA P-256."""
        return cls(key=ec.generate_private_key(ec.SECP256R1()), **options)

    def pem(self):
        """The certificate."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def key_info(self):
        """KeyInfo with the certificate."""
        der = base64.b64encode(self.certificate.public_bytes(serialization.Encoding.DER)).decode()
        return f"<ds:KeyInfo><ds:X509Data><ds:X509Certificate>{der}</ds:X509Certificate></ds:X509Data></ds:KeyInfo>"

    def _sign(self, content, method):
        if method.startswith("hmac"):
            code = hmac.HMAC(self.certificate.public_key().public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo), hashes.SHA256())
            code.update(content)
            return code.finalize()
        algorithm = SIGNATURES[method]()
        if method.startswith("ecdsa"):
            from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
            r, s = decode_dss_signature(self.key.sign(content, ec.ECDSA(algorithm)))
            size = (self.key.curve.key_size + 7) // 8
            return r.to_bytes(size, "big") + s.to_bytes(size, "big")
        return self.key.sign(content, padding.PKCS1v15(), algorithm)

    def signature(self, unsigned, signing=None):
        """The ds:Signature for an assertion without one."""
        signing = signing or Signing()
        element = etree.fromstring(unsigned)
        uri = f'#{element.get("ID")}' if signing.reference is None else signing.reference
        digest_uri, digest = DIGESTS[signing.digest]
        value = base64.b64encode(digest(canonical(element, signing.prefixes.split())).digest()).decode()
        inclusive = f'<ec:InclusiveNamespaces xmlns:ec="{EXC_C14N}" PrefixList="{signing.prefixes}"/>' if signing.prefixes else ""
        transforms = "".join(f'<ds:Transform Algorithm="{t}">{inclusive if t.startswith(EXC_C14N) else ""}</ds:Transform>'
                             for t in signing.transforms)
        method_uri = signing.method_uri or MORE + signing.method
        info = (f'<ds:SignedInfo xmlns:ds="{DS}"><ds:CanonicalizationMethod Algorithm="{signing.canonicalization}"/>'
                f'<ds:SignatureMethod Algorithm="{method_uri}"/><ds:Reference URI="{uri}"><ds:Transforms>{transforms}</ds:Transforms>'
                f'<ds:DigestMethod Algorithm="{signing.digest_uri or digest_uri}"/><ds:DigestValue>{value}</ds:DigestValue>'
                f"</ds:Reference>{signing.references}</ds:SignedInfo>")
        if signing.canonicalization == EXC_C14N:
            content = canonical(etree.fromstring(info))
        else:
            content = etree.tostring(etree.fromstring(info), method="c14n")
        value = base64.b64encode(self._sign(content, signing.method)).decode()
        key_info = self.key_info() if signing.key_info is None else signing.key_info
        return (f'<ds:Signature xmlns:ds="{DS}">{info}'
                f"<ds:SignatureValue>{value}</ds:SignatureValue>{key_info}{signing.objects}</ds:Signature>")

    def assertion(self, signing=None, edit=None, **claims):
        """A signed assertion as text; edit changes the text before it is signed."""
        claims.setdefault("issuer", self.issuer)
        text = Claims(**claims).text()
        if edit:
            text = edit(text)
        return text.replace("%SIGNATURE%", self.signature(text.replace("%SIGNATURE%", ""), signing))


def security(*content, attributes=' soap:mustUnderstand="1"'):
    """A wsse:Security header."""
    return f'<wsse:Security xmlns:wsse="{WSSE}" xmlns:soap="{SOAP}"{attributes}>{"".join(content)}</wsse:Security>'


def timestamp(created_s=-1, expires_s=300):
    """A wsu:Timestamp."""
    return (f'<wsu:Timestamp xmlns:wsu="{WSU}"><wsu:Created>{instant(created_s)}</wsu:Created>'
            f"<wsu:Expires>{instant(expires_s)}</wsu:Expires></wsu:Timestamp>")


def with_header(envelope, header):
    """The envelope with one more header block."""
    text = envelope.decode() if isinstance(envelope, bytes) else envelope
    return text.replace("</soap:Header>", header + "</soap:Header>", 1).encode()
