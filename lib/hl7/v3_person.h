#pragma once

#include "lib/hl7/demographics.h"
#include "lib/hl7/v3.h"

/** patientPerson of HL7 v3 and its data types PN, AD, TEL, TS, CE as Demographics, and back (ITI
 * TF-2 3.44.4.1.2; HL7 v3 data types). Which codes of the two stand for each other: v3_codes.def.
 */

/**
 * Reads patient and patientPerson. What HL7 v3 cannot say stays empty.
 * @param patient      element patient, whose content v3_check() passed
 * @param is_snapshot  what the message could say and does not is deleted (a revision)
 */
void v3_person_read(Arena *arena, const XmlNode *patient, bool is_snapshot,
                    Demographics *ret_demographics);

/** What follows the names in a patientPerson up to asCitizen, and what follows asOtherIDs; the
 * caller writes its identifiers between the two. */
void v3_person_append(StrBuf *buf, Arena *arena, const Demographics *demographics);
void v3_person_append_relations(StrBuf *buf, Arena *arena, const Demographics *demographics);

/** What a patientRole of CDA R2 says between its identifiers and patient; what patient itself
 * says. */
void v3_person_append_role(StrBuf *buf, Arena *arena, const Demographics *demographics);
void v3_person_append_patient(StrBuf *buf, Arena *arena, const Demographics *demographics);

/** PN and EN; a text without parts is the family name. */
PersonName v3_name(Arena *arena, const XmlNode *node);
/** AD. */
Address v3_address(Arena *arena, const XmlNode *node);
/** TEL. */
Telecom v3_telecom(Arena *arena, const XmlNode *node);
/** Table 0001 of an administrativeGenderCode; empty if it has none. */
Str v3_sex(const XmlNode *node);
