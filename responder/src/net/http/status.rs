//! The statuses of responses, RFC 9110 section 15. It does not know which request gets which.

/// A status that a response can have.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u16)]
pub enum Status {
    /// The request succeeded.
    Ok = 200,
    /// The part of a response that was asked for.
    PartialContent = 206,
    /// The client's copy is current.
    NotModified = 304,
    /// The end of the request is in doubt.
    BadRequest = 400,
    /// The client has to say who it is.
    Unauthorized = 401,
    /// The client may not have it, whoever it is.
    Forbidden = 403,
    /// Nothing is served at this path.
    NotFound = 404,
    /// The path is served, but not with this method.
    MethodNotAllowed = 405,
    /// The response does not meet the client's condition.
    PreconditionFailed = 412,
    /// The body is too large.
    ContentTooLarge = 413,
    /// The target is too long.
    UriTooLong = 414,
    /// The body's type is not accepted at this path.
    UnsupportedMediaType = 415,
    /// The response has no such bytes.
    RangeNotSatisfiable = 416,
    /// An expectation other than `100-continue`.
    ExpectationFailed = 417,
    /// The header section is too large.
    HeaderFieldsTooLarge = 431,
    /// Nothing can be served now.
    ServiceUnavailable = 503,
    /// Another version of HTTP.
    VersionNotSupported = 505,
}

impl Status {
    /// The code.
    pub const fn code(self) -> u16 {
        self as u16
    }

    /// Code and reason phrase.
    pub const fn line(self) -> &'static str {
        match self {
            Self::Ok => "200 OK",
            Self::PartialContent => "206 Partial Content",
            Self::NotModified => "304 Not Modified",
            Self::BadRequest => "400 Bad Request",
            Self::Unauthorized => "401 Unauthorized",
            Self::Forbidden => "403 Forbidden",
            Self::NotFound => "404 Not Found",
            Self::MethodNotAllowed => "405 Method Not Allowed",
            Self::PreconditionFailed => "412 Precondition Failed",
            Self::ContentTooLarge => "413 Content Too Large",
            Self::UriTooLong => "414 URI Too Long",
            Self::UnsupportedMediaType => "415 Unsupported Media Type",
            Self::RangeNotSatisfiable => "416 Range Not Satisfiable",
            Self::ExpectationFailed => "417 Expectation Failed",
            Self::HeaderFieldsTooLarge => "431 Request Header Fields Too Large",
            Self::ServiceUnavailable => "503 Service Unavailable",
            Self::VersionNotSupported => "505 HTTP Version Not Supported",
        }
    }
}
