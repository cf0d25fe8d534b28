#pragma once

#include "lib/xml/namespaces.h"

/**
 * Namespaces and URNs of XDS metadata, each once (ITI TF-3 4.2). UUIDs of attributes are in
 * attributes.def, association types in association_types.def.
 */

#define NS_RIM "urn:oasis:names:tc:ebxml-regrep:xsd:rim:3.0"
#define NS_LCM "urn:oasis:names:tc:ebxml-regrep:xsd:lcm:3.0"
#define NS_QUERY "urn:oasis:names:tc:ebxml-regrep:xsd:query:3.0"
#define NS_XML "http://www.w3.org/XML/1998/namespace"

/* TF-3 4.2.3.2.2 */
#define URN_STATUS_APPROVED "urn:oasis:names:tc:ebxml-regrep:StatusType:Approved"
#define URN_STATUS_DEPRECATED "urn:oasis:names:tc:ebxml-regrep:StatusType:Deprecated"

/* TF-3 4.2.4 */
#define URN_RESPONSE_SUCCESS "urn:oasis:names:tc:ebxml-regrep:ResponseStatusType:Success"
#define URN_RESPONSE_FAILURE "urn:oasis:names:tc:ebxml-regrep:ResponseStatusType:Failure"
#define URN_RESPONSE_PARTIAL "urn:ihe:iti:2007:ResponseStatusType:PartialSuccess"

/* TF-3 4.2.3.1: objectType of what is not a DocumentEntry */
#define URN_TYPE_PREFIX "urn:oasis:names:tc:ebxml-regrep:ObjectType:RegistryObject:"
#define URN_TYPE_ASSOCIATION URN_TYPE_PREFIX "Association"
#define URN_TYPE_CLASSIFICATION URN_TYPE_PREFIX "Classification"
#define URN_TYPE_EXTERNAL_IDENTIFIER URN_TYPE_PREFIX "ExternalIdentifier"
#define URN_TYPE_REGISTRY_PACKAGE URN_TYPE_PREFIX "RegistryPackage"

/* TF-3 4.2.3.2.30: objectType of a DocumentEntry */
#define UUID_STABLE_DOCUMENT "urn:uuid:7edca82f-054d-47f2-a032-9b2a5b5186c1"
#define UUID_ON_DEMAND_DOCUMENT "urn:uuid:34268e47-fdf5-41a6-ba33-82133c465248"

/* TF-3 4.2.1.2.1, 4.2.1.3.1: Classification/@classificationNode */
#define UUID_SUBMISSION_SET_NODE "urn:uuid:a54d6aa5-d40d-43f9-88c5-b4633d873bdd"
#define UUID_FOLDER_NODE "urn:uuid:d9d542f3-6cc4-48b6-8870-ea235fbc94c2"

/* TF-3 4.2.2.2: documentation of a Relationship */
#define UUID_ASSOCIATION_DOCUMENTATION "urn:uuid:abd807a3-4432-4053-87b4-fd82c643d1f3"

/* TF-3 4.2.2.1.1 */
#define SLOT_SUBMISSION_SET_STATUS "SubmissionSetStatus"
/* TF-2 3.64.4.1.3.1.4; XDS Metadata Update 3.57 */
#define SLOT_PREVIOUS_VERSION "PreviousVersion"
#define SLOT_ASSOCIATION_PROPAGATION "AssociationPropagation"
#define SLOT_ORIGINAL_STATUS "OriginalStatus"
#define SLOT_NEW_STATUS "NewStatus"
/* TF-3 4.2.3.1.2 */
#define SLOT_CODING_SCHEME "codingScheme"
/* TF-3 4.2.3.4.6: set by the registry */
#define SLOT_LAST_UPDATE_TIME "lastUpdateTime"

/* XDS Metadata Update: documentAvailability of a DocumentEntry */
#define URN_AVAILABILITY_ONLINE "urn:ihe:iti:2010:DocumentAvailability:Online"
#define URN_AVAILABILITY_OFFLINE "urn:ihe:iti:2010:DocumentAvailability:Offline"
