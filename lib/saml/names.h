#pragma once

#include "lib/xml/namespaces.h"

/* Namespace names and identifiers of SAML 2.0 Core, XML Signature 1.1 and WS-Security 1.1. */

#define NS_SAML "urn:oasis:names:tc:SAML:2.0:assertion"
#define NS_DS "http://www.w3.org/2000/09/xmldsig#"
#define NS_EXC_C14N "http://www.w3.org/2001/10/xml-exc-c14n#"
#define NS_HL7V3 "urn:hl7-org:v3"

#define TRANSFORM_ENVELOPED NS_DS "enveloped-signature"
#define C14N_EXCLUSIVE NS_EXC_C14N
#define C14N_EXCLUSIVE_COMMENTS NS_EXC_C14N "WithComments"

#define CONFIRMATION_BEARER "urn:oasis:names:tc:SAML:2.0:cm:bearer"
#define CONFIRMATION_HOLDER_OF_KEY "urn:oasis:names:tc:SAML:2.0:cm:holder-of-key"
