//! What a token holds, read byte by byte.

use std::{fs, path::Path, process::Command};

use crate::{
    Ended,
    der::{Element, elements, oid, only},
    run,
};

/// What a TimeStampToken holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Token {
    /// All of it.
    pub der: Vec<u8>,
    /// The TSTInfo.
    pub info: Info,
    /// Each certificate that goes along; `None` where the field is absent.
    pub certificates: Option<Vec<Vec<u8>>>,
    /// The signed attributes: type (whole) and value, in their order.
    pub attributes: Vec<(Vec<u8>, Vec<u8>)>,
    /// What is signed: the attributes as a SET OF.
    pub signed: Vec<u8>,
    /// The content of signature.
    pub signature: Vec<u8>,
    /// The bytes of the TSTInfo.
    pub content: Vec<u8>,
}

/// A TSTInfo; elements are whole, where it does not say otherwise.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Info {
    /// The content of policy.
    pub policy: Vec<u8>,
    /// messageImprint.
    pub imprint: Vec<u8>,
    /// The content of serialNumber.
    pub serial: Vec<u8>,
    /// genTime.
    pub gen_time: String,
    /// accuracy.
    pub accuracy: Option<Vec<u8>>,
    /// ordering, which is absent where it is FALSE.
    pub ordering: bool,
    /// The content of nonce.
    pub nonce: Option<Vec<u8>>,
    /// tsa.
    pub tsa: Option<Vec<u8>>,
    /// extensions.
    pub extensions: Option<Vec<u8>>,
}

impl Token {
    #[track_caller]
    pub(super) fn read(token: &Element<'_>) -> Self {
        let content = elements(token.content);
        assert_eq!(content[0].whole, oid("1.2.840.113549.1.7.2"), "signedData");
        let signed_data = elements(only(0x30, only(0xa0, content[1].whole).content).content);
        assert_eq!(signed_data[0].whole, [2, 1, 3], "SignedData v3");
        let encapsulated = elements(signed_data[2].content);
        assert_eq!(encapsulated[0].whole, oid("1.2.840.113549.1.9.16.1.4"), "id-ct-TSTInfo");
        let info = only(0x04, encapsulated[1].content).content;
        let certificates = signed_data.iter().find(|field| field.tag == 0xa0);
        let certificates = certificates
            .map(|set| elements(set.content).iter().map(|certificate| certificate.whole.to_vec()).collect());
        let signers = signed_data.last().filter(|set| set.tag == 0x31).expect("signerInfos");
        let signer = elements(only(0x30, signers.content).content);
        let attributes = elements(signer[3].content).into_iter().map(|attribute| {
            let parts = elements(attribute.content);
            let value = elements(parts[1].content)[0].whole;
            (parts[0].whole.to_vec(), value.to_vec())
        });
        assert_eq!(signer[3].tag, 0xa0, "signed attributes");
        Self {
            der: token.whole.to_vec(),
            info: Info::read(info),
            certificates,
            attributes: attributes.collect(),
            // RFC 5652 section 5.4: signed as a SET OF, sent with an implicit tag.
            signed: [&[0x31], &signer[3].whole[1..]].concat(),
            signature: signer[5].content.to_vec(),
            content: info.to_vec(),
        }
    }

    /// What `openssl cms -verify` makes of it as CAdES, which looks at the attribute that names the signer's certificate.
    pub fn openssl_cms_verifies(&self, ca: &Path) -> Ended {
        let scratch = tempfile::tempdir().unwrap();
        let file = scratch.path().join("token");
        fs::write(&file, &self.der).unwrap();
        let mut verify = Command::new("openssl");
        verify.args([
            "cms",
            "-verify",
            "-cades",
            "-purpose",
            "timestampsign",
            "-inform",
            "DER",
            "-out",
            "/dev/null",
            "-in",
        ]);
        run(verify.arg(file).arg("-CAfile").arg(ca))
    }

    /// The value of a signed attribute.
    pub fn attribute(&self, identifier: &str) -> Option<&[u8]> {
        let wanted = oid(identifier);
        let mut found = self.attributes.iter().filter(|(identifier, _)| *identifier == wanted);
        let value = found.next().map(|(_, value)| &value[..]);
        assert!(found.next().is_none(), "{identifier} twice");
        value
    }
}

impl Info {
    #[track_caller]
    fn read(der: &[u8]) -> Self {
        let fields = elements(only(0x30, der).content);
        let tags: Vec<u8> = fields[..5].iter().map(|field| field.tag).collect();
        assert_eq!(tags, [0x02, 0x06, 0x30, 0x02, 0x18], "{der:02x?}");
        assert_eq!(fields[0].content, [1], "version");
        let mut info = Self {
            policy: fields[1].content.to_vec(),
            imprint: fields[2].whole.to_vec(),
            serial: fields[3].content.to_vec(),
            gen_time: String::from_utf8(fields[4].content.to_vec()).unwrap(),
            accuracy: None,
            ordering: false,
            nonce: None,
            tsa: None,
            extensions: None,
        };
        let mut order = Vec::new();
        for field in &fields[5..] {
            let (place, whole) = (order.len(), Some(field.whole.to_vec()));
            order.push(match field.tag {
                0x30 => (0, info.accuracy = whole),
                0x01 => (1, info.ordering = field.content == [0xff]),
                0x02 => (2, info.nonce = Some(field.content.to_vec())),
                0xa0 => (3, info.tsa = whole),
                0xa1 => (4, info.extensions = whole),
                tag => panic!("in TSTInfo: {tag:02x}"),
            });
            assert!(place == 0 || order[place - 1].0 < order[place].0, "out of order: {der:02x?}");
        }
        info
    }

    /// genTime in microseconds since 1970.
    pub fn micros(&self) -> u64 {
        let text = self.gen_time.strip_suffix('Z').expect("UTC");
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        assert!(whole.len() == 14 && !fraction.ends_with('0') && !text.ends_with('.'), "{text}");
        let number = |from: usize, to: usize| whole[from..to].parse::<u64>().unwrap();
        let (year, month, day) = (number(0, 4), number(4, 6), number(6, 8));
        // Days from 1970, by the civil calendar with March as its first month.
        let (shifted, of_march) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
        let days =
            365 * shifted + shifted / 4 - shifted / 100 + shifted / 400 + (153 * of_march + 2) / 5 + day - 719_469;
        let seconds = ((days * 24 + number(8, 10)) * 60 + number(10, 12)) * 60 + number(12, 14);
        let micros: u64 = format!("{fraction:0<6}").parse().unwrap();
        seconds * 1_000_000 + micros
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_counted_as_date_counts_them() {
        for text in ["20000229235959Z", "20261121164036.123Z", "19700101000000Z", "20380301000000.000001Z"] {
            let spaced = format!(
                "{}-{}-{} {}:{}:{}",
                &text[..4],
                &text[4..6],
                &text[6..8],
                &text[8..10],
                &text[10..12],
                text[12..].trim_end_matches('Z')
            );
            let told = crate::bash(Path::new("/"), &format!("date -u -d '{spaced}' +%s%6N"));
            let info = Info { gen_time: text.to_owned(), ..Info::default() };
            assert_eq!(info.micros(), told.trim().parse::<u64>().unwrap(), "{text}");
        }
    }
}
