//! TimeStampResp reading, down to TSTInfo and SignerInfo.
//!
//! Invariant: total over any bytes, borrowed, without allocation; what RFC 3161 and RFC 5652 prescribe about the
//! structure is enforced here. It does not know what was asked and verifies nothing.

use crate::der::{AlgorithmIdentifier, Malformed, Read, Reader, Tlv, only, small, tag};
use crate::oid;
use crate::outcome::Kind;
use crate::time::{UnixNanos, generalized_with_fraction};

/// What a well-formed TimeStampResp says.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "it lives on the stack, and a box would be an allocation an answer")]
pub(crate) enum TimeStampResponse<'a> {
    /// A PKIStatus other than granted and grantedWithMods.
    Refused(Kind),
    Granted(Token<'a>),
}

/// TimeStampToken: a SignedData with one signer.
#[derive(Debug)]
pub(crate) struct Token<'a> {
    /// eContent: the TSTInfo as it was signed.
    pub(crate) content: &'a [u8],
    pub(crate) info: TstInfo<'a>,
    pub(crate) signer: SignerInfo<'a>,
    certificates: &'a [u8],
}

/// TSTInfo.
#[derive(Debug)]
pub(crate) struct TstInfo<'a> {
    pub(crate) policy: &'a [u8],
    pub(crate) imprint_algorithm: AlgorithmIdentifier<'a>,
    pub(crate) imprint: &'a [u8],
    /// Content bytes, minimal.
    pub(crate) serial: &'a [u8],
    pub(crate) gen_time: UnixNanos,
    pub(crate) accuracy_ns: i64,
    pub(crate) nonce: Option<&'a [u8]>,
}

/// SignerIdentifier.
#[derive(Debug, Clone, Copy)]
pub(crate) enum SignerId<'a> {
    /// The issuer Name's whole encoding, and the serial's content bytes.
    IssuerAndSerial(&'a [u8], &'a [u8]),
    SubjectKeyIdentifier(&'a [u8]),
}

/// SignerInfo.
#[derive(Debug)]
pub(crate) struct SignerInfo<'a> {
    pub(crate) id: SignerId<'a>,
    pub(crate) digest_algorithm: AlgorithmIdentifier<'a>,
    /// The whole encoding of signedAttrs, `[0]` tag included.
    pub(crate) signed_attributes: Tlv<'a>,
    pub(crate) signature_algorithm: AlgorithmIdentifier<'a>,
    pub(crate) signature: &'a [u8],
}

impl<'a> TimeStampResponse<'a> {
    pub(crate) fn read(body: &'a [u8]) -> Read<Self> {
        let mut fields = Reader::new(only(body, tag::SEQUENCE, "TimeStampResp")?.content);
        let mut status = fields.nested(tag::SEQUENCE, "PKIStatusInfo")?;
        let code = status.small_integer("PKIStatus")?;
        status.optional(tag::SEQUENCE, "statusString")?;
        let failure = status.optional(tag::BIT_STRING, "failInfo")?;
        status.finish("PKIStatusInfo")?;
        match code {
            0 | 1 => {
                let token = fields.tlv(tag::SEQUENCE, "timeStampToken")?;
                fields.finish("TimeStampResp")?;
                Token::read(token.content).map(TimeStampResponse::Granted)
            }
            2..=5 => {
                // RFC 3161 section 2.4.2: no token then.
                fields.finish("timeStampToken in a refusal")?;
                Ok(TimeStampResponse::Refused(failure.map_or(Kind::TspNotGranted, |f| failure_kind(f.content))))
            }
            _ => Err(Malformed("PKIStatus")),
        }
    }
}

/// PKIFailureInfo's bits by number (RFC 3161 section 2.4.2).
fn failure_kind(bit_string: &[u8]) -> Kind {
    const BITS: [(usize, Kind); 8] = [
        (0, Kind::TspBadAlg),
        (2, Kind::TspBadRequest),
        (5, Kind::TspBadDataFormat),
        (14, Kind::TspTimeNotAvailable),
        (15, Kind::TspUnacceptedPolicy),
        (16, Kind::TspUnacceptedExtension),
        (17, Kind::TspAddInfoNotAvailable),
        (25, Kind::TspSystemFailure),
    ];
    let is_set = |bit: usize| bit_string.get(1 + bit / 8).is_some_and(|octet| octet & (0x80 >> (bit % 8)) != 0);
    BITS.iter().find(|(bit, _)| is_set(*bit)).map_or(Kind::TspNotGranted, |(_, kind)| *kind)
}

impl<'a> Token<'a> {
    /// From the content of a ContentInfo.
    fn read(content_info: &'a [u8]) -> Read<Self> {
        let mut outer = Reader::new(content_info);
        if outer.content(tag::OID, "contentType")? != oid::SIGNED_DATA {
            return Err(Malformed("contentType"));
        }
        let explicit = outer.content(tag::context(0), "content")?;
        outer.finish("ContentInfo")?;

        let mut data = Reader::new(only(explicit, tag::SEQUENCE, "SignedData")?.content);
        // RFC 5652 section 5.1: 3, since the content is not id-data.
        if data.small_integer("CMSVersion")? != 3 {
            return Err(Malformed("CMSVersion"));
        }
        data.tlv(tag::SET, "digestAlgorithms")?;
        let mut encapsulated = data.nested(tag::SEQUENCE, "encapContentInfo")?;
        if encapsulated.content(tag::OID, "eContentType")? != oid::CT_TST_INFO {
            return Err(Malformed("eContentType"));
        }
        let content = only(encapsulated.content(tag::context(0), "eContent")?, tag::OCTET_STRING, "eContent")?.content;
        encapsulated.finish("encapContentInfo")?;
        let certificates = data.optional(tag::context(0), "certificates")?.map_or(&[][..], |t| t.content);
        data.optional(tag::context(1), "crls")?;
        let mut signers = data.nested(tag::SET, "signerInfos")?;
        data.finish("SignedData")?;
        // RFC 3161 section 2.4.2: no other signature than the TSA's.
        let signer = SignerInfo::read(signers.nested(tag::SEQUENCE, "SignerInfo")?)?;
        signers.finish("signerInfos")?;
        Ok(Self { content, info: TstInfo::read(content)?, signer, certificates })
    }

    /// The encodings of the certificates, in order.
    pub(crate) fn certificates(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let mut reader = Reader::new(self.certificates);
        std::iter::from_fn(move || reader.any("certificates").ok().map(|t| t.whole))
    }
}

impl<'a> TstInfo<'a> {
    fn read(der: &'a [u8]) -> Read<Self> {
        let mut fields = Reader::new(only(der, tag::SEQUENCE, "TSTInfo")?.content);
        if fields.small_integer("TSTInfo version")? != 1 {
            return Err(Malformed("TSTInfo version"));
        }
        let policy = fields.content(tag::OID, "policy")?;
        let mut message_imprint = fields.nested(tag::SEQUENCE, "messageImprint")?;
        let imprint_algorithm = AlgorithmIdentifier::read(&mut message_imprint, "hashAlgorithm")?;
        let imprint = message_imprint.content(tag::OCTET_STRING, "hashedMessage")?;
        message_imprint.finish("messageImprint")?;
        let serial = fields.integer("serialNumber")?;
        let gen_time = generalized_with_fraction(fields.content(tag::GENERALIZED_TIME, "genTime")?)?;
        let accuracy_ns = match fields.optional(tag::SEQUENCE, "accuracy")? {
            Some(accuracy) => accuracy_ns(accuracy.content)?,
            None => 0,
        };
        if let Some(ordering) = fields.optional(tag::BOOLEAN, "ordering")? {
            Reader::new(ordering.whole).boolean("ordering")?;
        }
        let nonce = match fields.optional(tag::INTEGER, "nonce")? {
            Some(nonce) => Some(Reader::new(nonce.whole).integer("nonce")?),
            None => None,
        };
        fields.optional(tag::context(0), "tsa")?;
        fields.optional(tag::context(1), "extensions")?;
        fields.finish("TSTInfo")?;
        Ok(Self { policy, imprint_algorithm, imprint, serial, gen_time, accuracy_ns, nonce })
    }
}

fn accuracy_ns(content: &[u8]) -> Read<i64> {
    let mut fields = Reader::new(content);
    let mut field = |tag, most| -> Read<i64> {
        match fields.optional(tag, "accuracy")? {
            Some(value) => match small(value.content, "accuracy")? {
                n if n <= most => Ok(i64::from(n)),
                _ => Err(Malformed("accuracy")),
            },
            None => Ok(0),
        }
    };
    let seconds = field(tag::INTEGER, u32::MAX)?;
    let millis = field(tag::context_primitive(0), 999)?;
    let micros = field(tag::context_primitive(1), 999)?;
    fields.finish("accuracy")?;
    Ok(seconds * 1_000_000_000 + millis * 1_000_000 + micros * 1_000)
}

impl<'a> SignerInfo<'a> {
    fn read(mut fields: Reader<'a>) -> Read<Self> {
        let version = fields.small_integer("SignerInfo version")?;
        let id = fields.any("sid")?;
        let id = match (version, id.tag) {
            (1, tag::SEQUENCE) => {
                let mut name_and_serial = Reader::new(id.content);
                let issuer = name_and_serial.tlv(tag::SEQUENCE, "issuer")?.whole;
                let serial = name_and_serial.content(tag::INTEGER, "serialNumber")?;
                name_and_serial.finish("issuerAndSerialNumber")?;
                SignerId::IssuerAndSerial(issuer, serial)
            }
            (3, t) if t == tag::context_primitive(0) => SignerId::SubjectKeyIdentifier(id.content),
            _ => return Err(Malformed("sid")),
        };
        let digest_algorithm = AlgorithmIdentifier::read(&mut fields, "digestAlgorithm")?;
        // RFC 5652 section 5.3: signedAttrs are required where the content is not id-data.
        let signed_attributes = fields.tlv(tag::context(0), "signedAttrs")?;
        let signature_algorithm = AlgorithmIdentifier::read(&mut fields, "signatureAlgorithm")?;
        let signature = fields.content(tag::OCTET_STRING, "signature")?;
        fields.optional(tag::context(1), "unsignedAttrs")?;
        fields.finish("SignerInfo")?;
        Ok(Self { id, digest_algorithm, signed_attributes, signature_algorithm, signature })
    }
}
