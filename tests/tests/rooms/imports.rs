//! What the source files of a crate import: `use` items, and paths that begin with `crate`, `super` or the name of
//! another crate, wherever they stand.
//!
//! Purpose: from files to [`Import`]s. Modules are found as the compiler finds them, from the crate's root on, and what is
//! marked `#[cfg(test)]` does not count. It reads tokens and no grammar beyond that: enough for code that compiles and is
//! formatted. It does not know which imports are allowed.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// One file imports something.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Import {
    /// The file, from the crate's `src` on.
    pub(crate) file: String,
    /// The module that it stands in, from the crate's root on; the first is the room.
    pub(crate) from: Vec<String>,
    /// What is imported, resolved: the first is `crate` or the name of another crate.
    pub(crate) path: Vec<String>,
}

impl Import {
    /// The room it stands in; `lib` and `main` for the roots.
    pub(crate) fn room(&self) -> &str {
        self.from.first().map_or_else(|| self.file.trim_end_matches(".rs"), String::as_str)
    }

    /// The other room of the same crate that is imported.
    pub(crate) fn target(&self) -> Option<&str> {
        let target = (self.path[0] == "crate").then(|| self.path.get(1).map(String::as_str)).flatten();
        target.filter(|target| *target != self.room())
    }
}

/// A crate's source files but for what is for tests.
#[derive(Default, Debug)]
pub(crate) struct Source {
    /// What they import.
    pub(crate) imports: Vec<Import>,
    /// The tokens of each.
    pub(crate) files: Vec<(String, Vec<String>)>,
}

impl Source {
    /// The modules from `src/<root>` on.
    pub(crate) fn read(src: &Path, root: &str) -> Self {
        let mut found = Self::default();
        read(src, Path::new(root), &[], src, &mut found);
        found
    }
}

/// Reads the file of `module`, whose own modules lie in the directory `below`.
fn read(src: &Path, file: &Path, module: &[String], below: &Path, found: &mut Source) {
    let text = fs::read_to_string(src.join(file)).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let tokens = without_tests(&tokens(&text));
    let file = file.to_string_lossy().into_owned();
    for Path_ { from, path } in paths(&tokens, module) {
        found.imports.push(Import { file: file.clone(), from, path });
    }
    for name in modules(&tokens) {
        let inner = below.join(&name);
        let files: [PathBuf; 2] = [below.join(format!("{name}.rs")), inner.join("mod.rs")];
        let path = files.iter().find(|path| path.is_file()).unwrap_or_else(|| panic!("no file of `mod {name};`"));
        read(src, path.strip_prefix(src).unwrap(), &[module, &[name]].concat(), &inner, found);
    }
    found.files.push((file, tokens));
}

/// A path, resolved, and the module that it stands in.
#[derive(PartialEq, Eq, Debug)]
struct Path_ {
    from: Vec<String>,
    path: Vec<String>,
}

/// Identifiers, numbers and strings whole, `::` as one, every other sign alone; no comments, characters or lifetimes.
fn tokens(text: &str) -> Vec<String> {
    let (mut tokens, mut rest) = (Vec::new(), text);
    while let Some(first) = rest.chars().next() {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let word = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        // What a literal may have before it: b, br, c, cr, r.
        let behind = &rest[word..];
        let is_prefix = ["b", "br", "c", "cr", "r"].contains(&&rest[..word]);
        let hashes = behind.bytes().take_while(|byte| *byte == b'#').count();
        let is_raw = is_prefix && rest[..word].ends_with('r') && behind[hashes..].starts_with('"');
        let mut is_literal = false;
        let mut literal = |length| {
            is_literal = true;
            length
        };
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment(rest)
        } else if is_raw {
            let end = format!("\"{}", "#".repeat(hashes));
            let start = word + hashes + 1;
            literal(start + rest[start..].find(&end).unwrap_or(rest.len() - start - end.len()) + end.len())
        } else if is_prefix && behind.starts_with(['"', '\'']) && !rest[..word].ends_with('r') {
            literal(word + quoted(behind))
        } else if first == '"' {
            literal(quoted(rest))
        } else if first == '\'' {
            // A lifetime has no quote behind it.
            let is_character = rest.starts_with("'\\") || rest.chars().nth(2) == Some('\'');
            if is_character { quoted(rest) } else { 1 + rest[1..].find(|c| !is_word(c)).unwrap_or(rest.len() - 1) }
        } else {
            let length = if rest.starts_with("::") { 2 } else { word.max(first.len_utf8()) };
            if !first.is_whitespace() {
                tokens.push(rest[..length].to_owned());
            }
            length
        };
        if is_literal {
            tokens.push(rest[..length].to_owned());
        }
        rest = &rest[length..];
    }
    tokens
}

/// Bytes of a literal up to its closing quote, which is the sign that it begins with.
fn quoted(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut at = 1;
    while at < bytes.len() && bytes[at] != bytes[0] {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(bytes.len())
}

fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        match &text.as_bytes()[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// The tokens but for items and fields that are marked `#[cfg(test)]`.
fn without_tests(tokens: &[String]) -> Vec<String> {
    const MARK: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let (mut kept, mut at) = (Vec::new(), 0);
    while at < tokens.len() {
        if tokens[at..].iter().map(String::as_str).take(MARK.len()).eq(MARK) {
            at = behind_item(tokens, at + MARK.len());
        } else {
            kept.push(tokens[at].clone());
            at += 1;
        }
    }
    kept
}

/// Where the item ends whose other attributes begin at `at`.
fn behind_item(tokens: &[String], mut at: usize) -> usize {
    const ITEMS: [&str; 14] = [
        "pub",
        "fn",
        "mod",
        "impl",
        "struct",
        "enum",
        "trait",
        "unsafe",
        "async",
        "extern",
        "macro_rules",
        "use",
        "const",
        "static",
    ];
    while tokens[at] == "#" {
        at = closed(tokens, at + 1);
    }
    let is_item = ITEMS.contains(&tokens[at].as_str());
    let ends_with_semicolon =
        tokens[at..].iter().take(6).any(|token| ["use", "const", "static"].contains(&token.as_str()))
            && !tokens[at..].iter().take(6).any(|token| token == "fn");
    while at < tokens.len() {
        match tokens[at].as_str() {
            ";" => return at + 1,
            "," if !is_item => return at + 1,
            "{" if is_item && !ends_with_semicolon => return closed(tokens, at),
            "{" | "(" | "[" => at = closed(tokens, at),
            "}" | ")" => return at,
            _ => at += 1,
        }
    }
    at
}

/// Where the group ends that is opened at `at`.
fn closed(tokens: &[String], mut at: usize) -> usize {
    let mut depth = 0;
    while at < tokens.len() {
        match tokens[at].as_str() {
            "{" | "(" | "[" => depth += 1,
            "}" | ")" | "]" => depth -= 1,
            _ => {}
        }
        at += 1;
        if depth == 0 {
            break;
        }
    }
    at
}

/// The modules in files of their own that are declared.
fn modules(tokens: &[String]) -> Vec<String> {
    let declared = tokens.windows(3).filter(|window| window[0] == "mod" && window[2] == ";");
    declared.map(|window| window[1].clone()).collect()
}

/// Every path that tells what is imported.
fn paths(tokens: &[String], module: &[String]) -> Vec<Path_> {
    const BEGINS: [&str; 5] = ["crate", "super", "precompute", "responder", "cryptoki"];
    let mut found = Vec::new();
    let mut module = module.to_vec();
    // How deep the modules are that stand in the file itself.
    let (mut depth, mut inline) = (0, Vec::new());
    let mut at = 0;
    while at < tokens.len() {
        let next = |ahead: usize| tokens.get(at + ahead).map_or("", String::as_str);
        match next(0) {
            "pub" if next(1) == "(" => at = closed(tokens, at + 1),
            "mod" if next(2) == "{" => {
                module.push(next(1).to_owned());
                inline.push(depth);
                (depth, at) = (depth + 1, at + 3);
            }
            "{" => (depth, at) = (depth + 1, at + 1),
            "}" => {
                (depth, at) = (depth - 1, at + 1);
                if inline.last() == Some(&depth) {
                    inline.pop();
                    module.pop();
                }
            }
            "use" if next(1) != "<" => at = tree(tokens, at + 1, &mut Vec::new(), &module, &mut found),
            begin if BEGINS.contains(&begin) && next(1) == "::" && (at == 0 || tokens[at - 1] != "::") => {
                let mut path = vec![begin.to_owned()];
                while tokens.get(at + 1).is_some_and(|token| token == "::")
                    && tokens
                        .get(at + 2)
                        .is_some_and(|token| token.starts_with(|c: char| c.is_alphabetic() || c == '_'))
                {
                    path.push(tokens[at + 2].clone());
                    at += 2;
                }
                at += 1;
                found.extend(resolved(&path, &module));
            }
            _ => at += 1,
        }
    }
    found
}

/// Reads a UseTree behind `before`, and gives where it ends.
fn tree(
    tokens: &[String],
    mut at: usize,
    before: &mut Vec<String>,
    module: &[String],
    found: &mut Vec<Path_>,
) -> usize {
    let length = before.len();
    while at < tokens.len() {
        match tokens[at].as_str() {
            "::" => at += 1,
            "{" => {
                at += 1;
                while tokens[at] != "}" {
                    at = tree(tokens, at, before, module, found);
                    at += usize::from(tokens[at] == ",");
                }
                before.truncate(length);
                return at + 1;
            }
            "as" => at += 2,
            "," | ";" | "}" => break,
            word => {
                before.push(word.to_owned());
                at += 1;
            }
        }
    }
    found.extend(resolved(before, module));
    before.truncate(length);
    at
}

/// A path without `self` and `super`; `None` for one of a crate without more.
fn resolved(path: &[String], module: &[String]) -> Option<Path_> {
    let (mut base, mut rest, mut is_relative) = (module.to_vec(), path, false);
    while let [first, behind @ ..] = rest
        && ["self", "super"].contains(&first.as_str())
    {
        if first == "super" {
            base.pop();
        }
        (rest, is_relative) = (behind, true);
    }
    let rest: Vec<_> = rest.iter().filter(|segment| *segment != "self").cloned().collect();
    let path = if is_relative { [vec!["crate".to_owned()], base, rest].concat() } else { rest };
    (path.len() > 1).then(|| Path_ { from: module.to_vec(), path })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Vec<String> {
        let tokens = without_tests(&tokens(text));
        let module = ["room".to_owned(), "inner".to_owned()];
        paths(&tokens, &module).into_iter().map(|found| found.path.join("::")).collect()
    }

    #[test]
    fn every_form_of_an_import_is_read() {
        let text = r##"
            //! crate::comment
            use std::fmt;
            pub(in crate::seen) use crate::{a::{self, B as C}, d::*};
            use super::{super::e::F, g};
            mod own { use super::super::super::h::I; }
            /* crate::comment /* crate::nested */ crate::comment */
            fn f<'a>(x: &'a crate::j::K) -> char { let _ = ["crate::text", r#"crate::"raw""#, b"\"crate::text"]; '"' }
            fn m() { println!("{}", crate::l::m::<u8>()); let _: fn() -> cryptoki::Session = 'x'; }
        "##;
        let expected = [
            "std::fmt",
            "crate::a",
            "crate::a::B",
            "crate::d::*",
            "crate::e::F",
            "crate::room::g",
            "crate::h::I",
            "crate::j::K",
            "crate::l::m",
            "cryptoki::Session",
        ];
        assert_eq!(told(text), expected);
    }

    #[test]
    fn what_is_for_tests_does_not_count() {
        let text = "
            #[cfg(test)] use crate::{a, b};
            #[cfg(test)] #[derive(Debug)] struct S { a: crate::a::A }
            #[cfg(test)] mod tests { use crate::b; fn f() {} }
            #[cfg(test)] pub(crate) const fn c() -> [u8; 2] { crate::c::d() }
            #[cfg(test)] const D: [crate::d::E; 2] = { crate::d::F };
            struct T { #[cfg(test)] e: crate::e::E, f: crate::kept::F }
            #[cfg(test)] mod far;
            use crate::kept;
        ";
        assert_eq!(told(text), ["crate::kept::F", "crate::kept"]);
        let tokens = tokens("#[cfg(test)] mod far; mod near; pub mod here { }");
        assert_eq!(modules(&without_tests(&tokens)), ["near"]);
    }
}
