//! Identifier bytes of DER elements, X.690 section 8.1.2.

/// BOOLEAN
pub const BOOLEAN: u8 = 0x01;
/// INTEGER
pub const INTEGER: u8 = 0x02;
/// BIT STRING
pub const BIT_STRING: u8 = 0x03;
/// OCTET STRING
pub const OCTET_STRING: u8 = 0x04;
/// NULL
pub const NULL: u8 = 0x05;
/// OBJECT IDENTIFIER
pub const OBJECT_IDENTIFIER: u8 = 0x06;
/// ENUMERATED
pub const ENUMERATED: u8 = 0x0a;
/// UTF8String
pub const UTF8_STRING: u8 = 0x0c;
/// UTCTime
pub const UTC_TIME: u8 = 0x17;
/// GeneralizedTime
pub const GENERALIZED_TIME: u8 = 0x18;
/// SEQUENCE and SEQUENCE OF
pub const SEQUENCE: u8 = 0x30;
/// SET and SET OF
pub const SET: u8 = 0x31;

/// The alternative directoryName of a GeneralName, RFC 5280 section 4.2.1.6.
pub const DIRECTORY_NAME: u8 = explicit(4);

/// `[number] EXPLICIT`, or IMPLICIT for a constructed type; `number` is at most 30.
pub const fn explicit(number: u8) -> u8 {
    0xa0 | number
}

/// `[number] IMPLICIT` for a primitive type; `number` is at most 30.
pub const fn implicit(number: u8) -> u8 {
    0x80 | number
}
