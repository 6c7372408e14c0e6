//! One thing that is wrong or doubtful, for people and for programs.
//!
//! Invariant: both get the same: a line of text, or the parts that it is made of. It does not know what is looked at.

use std::fmt;

use serde::Serialize;

/// How bad it is.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Debug)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It stands in the way.
    Error,
    /// It may not be intended.
    Warning,
}

/// Where it is, as far as that is known.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Debug)]
pub struct Where {
    /// A file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// A line of it, from 1 on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// A key of the configuration, with those above it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// A tenant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// An issuer of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
}

impl Where {
    /// From `file:line: key`, as messages have it, or the first parts of that.
    pub fn parse(place: &str) -> Self {
        let (file, key) = match place.rsplit_once(": ") {
            Some((file, key)) => (file, Some(key.to_owned())),
            None => (place, None),
        };
        let (file, line) = match file.rsplit_once(':').map(|(file, line)| (file, line.parse())) {
            Some((file, Ok(line))) => (file, Some(line)),
            _ => (file, None),
        };
        let file = Some(file.to_owned()).filter(|file| !file.is_empty());
        Self { file, line, key, ..Self::default() }
    }
}

/// One thing that is wrong or doubtful. Its text is the line for people.
#[derive(Clone, PartialEq, Eq, Serialize, Debug)]
pub struct Finding {
    severity: Severity,
    #[serde(rename = "where")]
    place: Where,
    /// What is wrong.
    message: String,
    /// What would be right, or what to do.
    remedy: Option<String>,
    #[serde(skip)]
    line: String,
}

impl Finding {
    /// `text`: what is wrong and, after a semicolon, the remedy; `line`: all of it for people.
    pub fn new(severity: Severity, place: Where, text: &str, line: String) -> Self {
        let (message, remedy) = match text.split_once("; ") {
            Some((message, remedy)) => (message.to_owned(), Some(remedy.to_owned())),
            None => (text.to_owned(), None),
        };
        Self { severity, place, message, remedy, line }
    }

    /// The same with the whole path of its file: a program that reads it may be elsewhere.
    #[must_use]
    pub fn with_whole_path(mut self) -> Self {
        let whole = |file: String| match std::path::absolute(&file) {
            // What was fetched has a URL.
            Ok(path) if !file.contains("://") => path.display().to_string(),
            _ => file,
        };
        self.place.file = self.place.file.map(whole);
        self
    }

    /// An error of which nothing is known but its text.
    pub fn error(text: String) -> Self {
        Self::new(Severity::Error, Where::default(), &text, text.clone())
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_as_messages_have_it() {
        for (place, file, line, key) in [
            ("/a/ostia.toml:7: http.listen", Some("/a/ostia.toml"), Some(7), Some("http.listen")),
            ("/a/ostia.toml: http.listen", Some("/a/ostia.toml"), None, Some("http.listen")),
            ("/a: b/ostia.toml:7: http", Some("/a: b/ostia.toml"), Some(7), Some("http")),
            ("/a/ostia.toml", Some("/a/ostia.toml"), None, None),
            ("", None, None, None),
        ] {
            let read = Where::parse(place);
            assert_eq!((read.file.as_deref(), read.line, read.key.as_deref()), (file, line, key), "{place}");
        }
    }

    #[test]
    fn a_file_gets_its_whole_path_and_nothing_else_does() {
        let whole = |file: &str| {
            let place = Where { file: Some(file.into()), ..Where::default() };
            Finding::new(Severity::Error, place, "", String::new()).with_whole_path().place.file.unwrap()
        };
        assert_eq!(whole("a.toml"), std::env::current_dir().unwrap().join("a.toml").display().to_string());
        assert_eq!(whole("/a/b.toml"), "/a/b.toml");
        assert_eq!(whole("http://a/b.crl"), "http://a/b.crl");
    }

    #[test]
    fn a_text_is_what_is_wrong_and_after_a_semicolon_the_remedy() {
        for (text, message, remedy) in
            [("is away", "is away", None), ("is `1`; write 2; or 3", "is `1`", Some("write 2; or 3"))]
        {
            let found = Finding::new(Severity::Warning, Where::default(), text, String::new());
            assert_eq!((&*found.message, found.remedy.as_deref()), (message, remedy));
        }
    }
}
