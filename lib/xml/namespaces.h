#pragma once

/* Namespace names of the envelope and of the elements that lib/xml and lib/soap look at themselves.
 */

#define NS_SOAP12 "http://www.w3.org/2003/05/soap-envelope"
#define NS_SOAP11 "http://schemas.xmlsoap.org/soap/envelope/"
#define NS_WSA "http://www.w3.org/2005/08/addressing"
#define NS_WSSE "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd"
#define NS_WSU "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd"
#define NS_WSNT "http://docs.oasis-open.org/wsn/b-2"
#define NS_WSRF_BF "http://docs.oasis-open.org/wsrf/bf-2"
#define NS_WSRF_R "http://docs.oasis-open.org/wsrf/r-2"
#define NS_XOP "http://www.w3.org/2004/08/xop/include"
#define NS_XDSB "urn:ihe:iti:xds-b:2007"
#define NS_XDSI "urn:ihe:rad:xdsi-b:2009"
#define NS_RS "urn:oasis:names:tc:ebxml-regrep:xsd:rs:3.0"

/* TF-3 Table 4.2.4.1-1: RegistryError/@severity, RegistryErrorList/@highestSeverity */
#define URN_SEVERITY_ERROR "urn:oasis:names:tc:ebxml-regrep:ErrorSeverityType:Error"
#define URN_SEVERITY_WARNING "urn:oasis:names:tc:ebxml-regrep:ErrorSeverityType:Warning"
