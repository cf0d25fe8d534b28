#include "lib/dicom/dcmtk/association.h"

#include <cstdlib>
#include <cstring>
#include <dcmtk/config/osconfig.h>
#include <dcmtk/dcmdata/dcdict.h>
#include <dcmtk/dcmnet/assoc.h>
#include <dcmtk/dcmnet/cond.h>
#include <dcmtk/dcmnet/dcmtrans.h>
#include <dcmtk/dcmnet/dul.h>
#include <dcmtk/oflog/oflog.h>
#include <dcmtk/ofstd/ofstd.h>
#include <exception>
#include <new>
#include <unistd.h>

/** PDUs below this would make a PDU of every few bytes. */
#define PDU_MIN 128
#define SEND_TIMEOUT_S 60
/** A literal address: nothing is looked up, and nothing is connected (syscalls.def). */
#define NOWHERE "127.0.0.1:104"

struct DicomAssociation {
    T_ASC_Network *network;
    T_ASC_Association *association;    /* has the parameters */
    T_ASC_PresentationContext context; /* what association_context_at() gave last */
    DIC_AE calling_ae;
    DIC_AE called_ae;
    DIC_UI application_context;
    DUL_PDV pending; /* with has_pending */
    bool has_pending;
    int socket;
};

/** DCMTK throws nothing by itself, but allocates: no memory is the end of this process alone. */
template <typename Result, typename Call> static Result guarded(Call call)
{
    try {
        return call();
    } catch (const std::exception &) {
        std::abort();
    }
}

/* ---- roles ---- */

static AssociationRole role_of(T_ASC_SC_ROLE role)
{
    return role == ASC_SC_ROLE_SCP      ? ASSOCIATION_ROLE_REVERSE
           : role == ASC_SC_ROLE_SCUSCP ? ASSOCIATION_ROLE_BOTH
                                        : ASSOCIATION_ROLE_DEFAULT;
}

static T_ASC_SC_ROLE dcmtk_role_of(AssociationRole role)
{
    return role == ASSOCIATION_ROLE_REVERSE ? ASC_SC_ROLE_SCP
           : role == ASSOCIATION_ROLE_BOTH  ? ASC_SC_ROLE_SCUSCP
                                            : ASC_SC_ROLE_DEFAULT;
}

/* ---- making one ---- */

/** What this implementation calls itself. */
static const char *our_class_uid = "";
static const char *our_version = "";

static void introduce(T_ASC_Parameters *params)
{
    (void)OFStandard::strlcpy(params->ourImplementationClassUID, our_class_uid,
                              sizeof(params->ourImplementationClassUID));
    (void)OFStandard::strlcpy(params->ourImplementationVersionName, our_version,
                              sizeof(params->ourImplementationVersionName));
}

void association_prepare(const char *class_uid, const char *version)
{
    our_class_uid = class_uid;
    our_version = version;
    guarded<bool>([] {
        (void)unsetenv("TCP_NODELAY"); /* DCMTK would set it on sockets that are none of TCP */
        (void)unsetenv("TCP_BUFFER_LENGTH");
        OFLog::configure(OFLogger::OFF_LOG_LEVEL);
        dcmDisableGethostbyaddr.set(OFTrue);
        dcmSocketSendTimeout.set(SEND_TIMEOUT_S);
        (void)dcmDataDict.isDictionaryLoaded();
        return true;
    });
}

static DicomAssociation *association_new(T_ASC_NetworkRole role, int socket, int timeout_s)
{
    DicomAssociation *association = new DicomAssociation();
    association->socket = socket;
    if (ASC_initializeNetwork(role, 0, timeout_s, &association->network).bad()) {
        delete association;
        return nullptr;
    }
    return association;
}

static void describe(DicomAssociation *association)
{
    T_ASC_Parameters *params = association->association->params;
    (void)ASC_getAPTitles(params, association->calling_ae, sizeof(association->calling_ae),
                          association->called_ae, sizeof(association->called_ae), nullptr, 0);
    (void)ASC_getApplicationContextName(params, association->application_context,
                                        sizeof(association->application_context));
}

DicomAssociation *association_receive(int socket, int timeout_s)
{
    return guarded<DicomAssociation *>([=]() -> DicomAssociation * {
        dcmExternalSocketHandle.set(socket);
        DicomAssociation *made = association_new(NET_ACCEPTOR, socket, timeout_s);
        if (!made) {
            return nullptr;
        }
        OFCondition result =
            ASC_receiveAssociation(made->network, &made->association, ASSOCIATION_PDU_MAX, nullptr,
                                   nullptr, OFFalse, DUL_NOBLOCK, timeout_s);
        if (result.bad()) {
            association_free(made);
            return nullptr;
        }
        describe(made);
        introduce(made->association->params);
        return made;
    });
}

AssociationPeer association_peer(const DicomAssociation *association)
{
    const T_ASC_Parameters *params = association->association->params;
    return AssociationPeer{association->calling_ae, association->called_ae,
                           association->application_context, params->theirImplementationVersionName,
                           static_cast<uint32_t>(params->theirMaxPDUReceiveSize)};
}

static void show_context(DicomAssociation *association, AssociationContext *ret_context)
{
    const T_ASC_PresentationContext *from = &association->context;
    *ret_context = AssociationContext();
    ret_context->id = from->presentationContextID;
    ret_context->is_accepted = from->resultReason == ASC_P_ACCEPTANCE;
    ret_context->role = role_of(ret_context->is_accepted ? from->acceptedRole : from->proposedRole);
    ret_context->abstract_syntax = from->abstractSyntax;
    if (ret_context->is_accepted) {
        ret_context->syntaxes[ret_context->syntax_count++] = from->acceptedTransferSyntax;
        return;
    }
    while (ret_context->syntax_count < from->transferSyntaxCount) {
        ret_context->syntaxes[ret_context->syntax_count] =
            from->proposedTransferSyntaxes[ret_context->syntax_count];
        ret_context->syntax_count++;
    }
}

bool association_context_at(DicomAssociation *association, size_t index,
                            AssociationContext *ret_context)
{
    return guarded<bool>([=] {
        T_ASC_Parameters *params = association->association->params;
        if (index >= static_cast<size_t>(ASC_countPresentationContexts(params))) {
            return false;
        }
        OFCondition result =
            ASC_getPresentationContext(params, static_cast<int>(index), &association->context);
        if (result.bad()) { /* more transfer syntaxes than DCMTK takes: those that it has taken */
            association->context.transferSyntaxCount = ASSOCIATION_SYNTAXES_MAX;
        }
        show_context(association, ret_context);
        return true;
    });
}

bool association_accept_context(DicomAssociation *association, uint8_t id, const char *syntax,
                                AssociationRole role)
{
    return guarded<bool>([=] {
        return ASC_acceptPresentationContext(association->association->params, id, syntax,
                                             dcmtk_role_of(role))
            .good();
    });
}

void association_refuse_context(DicomAssociation *association, uint8_t id,
                                bool is_abstract_syntax_known)
{
    guarded<bool>([=] {
        return ASC_refusePresentationContext(association->association->params, id,
                                             is_abstract_syntax_known
                                                 ? ASC_P_TRANSFERSYNTAXESNOTSUPPORTED
                                                 : ASC_P_ABSTRACTSYNTAXNOTSUPPORTED)
            .good();
    });
}

bool association_accept(DicomAssociation *association)
{
    return guarded<bool>([=] {
        uint32_t max_pdu = association_peer(association).max_pdu;
        if (max_pdu != 0 && max_pdu < PDU_MIN) {
            association_abort(association);
            return false;
        }
        return ASC_acknowledgeAssociation(association->association).good();
    });
}

void association_reject(DicomAssociation *association, unsigned result, unsigned source,
                        unsigned reason)
{
    guarded<bool>([=] {
        const T_ASC_RejectParameters parameters = {
            static_cast<T_ASC_RejectParametersResult>(result),
            static_cast<T_ASC_RejectParametersSource>(source),
            static_cast<T_ASC_RejectParametersReason>(source << 8 | reason)};
        return ASC_rejectAssociation(association->association, &parameters).good();
    });
}

/* ---- asking for one ---- */

static bool propose(T_ASC_Parameters *params, const AssociationProposal *proposal)
{
    bool is_good =
        ASC_setTransportLayerType(params, OFFalse).good() &&
        ASC_setAPTitles(params, proposal->calling_ae, proposal->called_ae, nullptr).good() &&
        ASC_setPresentationAddresses(params, NOWHERE, NOWHERE).good();
    for (size_t i = 0; i < proposal->context_count && is_good; i++) {
        const AssociationContext *context = &proposal->contexts[i];
        const char *syntaxes[ASSOCIATION_SYNTAXES_MAX];
        (void)std::memcpy(syntaxes, context->syntaxes, sizeof(syntaxes));
        is_good = ASC_addPresentationContext(
                      params, static_cast<T_ASC_PresentationContextID>(2 * i + 1),
                      context->abstract_syntax, syntaxes, static_cast<int>(context->syntax_count),
                      dcmtk_role_of(context->role))
                      .good();
    }
    return is_good;
}

static uint32_t rejection_of(T_ASC_Parameters *params)
{
    T_ASC_RejectParameters rejected;
    if (ASC_getRejectParameters(params, &rejected).bad()) {
        return 0;
    }
    return static_cast<uint32_t>(rejected.result) << 16 |
           static_cast<uint32_t>(rejected.source) << 8 |
           (static_cast<uint32_t>(rejected.reason) & 0xff);
}

DicomAssociation *association_request(const AssociationProposal *proposal, int timeout_s,
                                      uint32_t *ret_rejection)
{
    *ret_rejection = 0;
    return guarded<DicomAssociation *>([=]() -> DicomAssociation * {
        T_ASC_Parameters *params = nullptr;
        DicomAssociation *made =
            association_new(NET_REQUESTOR, ASSOCIATION_REQUESTOR_SOCKET, timeout_s);
        if (!made || ASC_createAssociationParameters(&params, ASSOCIATION_PDU_MAX).bad() ||
            !propose(params, proposal)) {
            association_free(made);
            return nullptr;
        }
        introduce(params);
        OFCondition result = ASC_requestAssociation(made->network, params, &made->association,
                                                    nullptr, nullptr, DUL_NOBLOCK, timeout_s);
        if (result.bad()) {
            *ret_rejection = result == DUL_ASSOCIATIONREJECTED ? rejection_of(params) : 0;
            association_free(made);
            return nullptr;
        }
        describe(made);
        return made;
    });
}

/* ---- in it ---- */

int association_socket(const DicomAssociation *association)
{
    return association->socket;
}

bool association_has_data(const DicomAssociation *association)
{
    return association->has_pending;
}

static AssociationEvent event_of(DicomAssociation *association, OFCondition result)
{
    if (result == DUL_PEERREQUESTEDRELEASE) {
        (void)ASC_acknowledgeRelease(association->association);
        return ASSOCIATION_RELEASED;
    }
    return result == DUL_PEERABORTEDASSOCIATION ? ASSOCIATION_ABORTED : ASSOCIATION_BROKEN;
}

static OFCondition next_data(DicomAssociation *association)
{
    OFCondition result =
        DUL_NextPDV(&association->association->DULassociation, &association->pending);
    association->has_pending = result.good();
    return result;
}

static AssociationEvent fetch(DicomAssociation *association, int timeout_s)
{
    DUL_ASSOCIATIONKEY **key = &association->association->DULassociation;
    OFCondition result = DUL_ReadPDVs(key, nullptr, DUL_NOBLOCK, timeout_s);
    if (result != DUL_PDATAPDUARRIVED) {
        return event_of(association, result);
    }
    return next_data(association).good() ? ASSOCIATION_DATA : ASSOCIATION_BROKEN;
}

AssociationEvent association_read(DicomAssociation *association, int timeout_s,
                                  AssociationData *ret_data)
{
    return guarded<AssociationEvent>([=] {
        AssociationEvent event =
            association->has_pending ? ASSOCIATION_DATA : fetch(association, timeout_s);
        if (event == ASSOCIATION_DATA) {
            const DUL_PDV *pdv = &association->pending;
            *ret_data = AssociationData{pdv->presentationContextID, pdv->pdvType == DUL_COMMANDPDV,
                                        pdv->lastPDV != OFFalse, pdv->data,
                                        static_cast<size_t>(pdv->fragmentLength)};
            (void)next_data(association); /* the bytes of this one stay where they are */
        }
        return event;
    });
}

bool association_write(DicomAssociation *association, const AssociationData *data)
{
    return guarded<bool>([=] {
        DUL_PDV pdv = {};
        pdv.fragmentLength = data->len;
        pdv.presentationContextID = data->context;
        pdv.pdvType = data->is_command ? DUL_COMMANDPDV : DUL_DATASETPDV;
        pdv.lastPDV = data->is_last ? OFTrue : OFFalse;
        pdv.data = const_cast<void *>(data->bytes); /* read only */
        DUL_PDVLIST list = {};
        list.count = 1;
        list.pdv = &pdv;
        return DUL_WritePDVs(&association->association->DULassociation, &list).good();
    });
}

size_t association_write_size(const DicomAssociation *association)
{
    return association->association->sendPDVLength;
}

/* ---- its end ---- */

void association_release(DicomAssociation *association)
{
    guarded<bool>([=] { return ASC_releaseAssociation(association->association).good(); });
}

void association_abort(DicomAssociation *association)
{
    guarded<bool>([=] { return ASC_abortAssociation(association->association).good(); });
}

void association_free(DicomAssociation *association)
{
    if (!association) {
        return;
    }
    guarded<bool>([=] {
        if (association->association) {
            (void)ASC_dropAssociation(association->association);
            (void)ASC_destroyAssociation(&association->association);
        }
        (void)ASC_dropNetwork(&association->network);
        delete association;
        return true;
    });
}
