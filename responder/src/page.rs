//! The page for people who open a tenant's URL in a browser.
//!
//! Pure: it says what is served there, for what kind of request, and with which commands to ask. It does not know the visitor,
//! nor by which host it is asked.

use std::fmt::Write as _;

/// The page of a tenant at `path` that answers for certificates or not, time-stamps at `tsa_paths` below its path, and
/// publishes these `files`.
pub fn text<'d>(
    path: &str,
    has_issuers: bool,
    tsa_paths: impl Iterator<Item = &'d str>,
    files: impl Iterator<Item = String>,
) -> String {
    let mut page = String::new();
    let mut next = String::new();
    if has_issuers {
        next += ASK;
        page += "This is an OCSP responder (RFC 6960). It answers POST with application/ocsp-request, and GET with the request in base64.\n";
    }
    for (place, tsa_path) in tsa_paths.enumerate() {
        if place == 0 {
            let _ = write!(
                next,
                "\nTo get a time-stamp, and to verify it:\n\n    openssl ts -query -data FILE -sha256 -cert -out query.tsq\n    curl -sS -H 'Content-Type: application/timestamp-query' --data-binary @query.tsq URL{tsa_path} -o reply.tsr\n    curl -sS URL{tsa_path}/chain.pem -o chain.pem\n    openssl ts -verify -queryfile query.tsq -in reply.tsr -untrusted chain.pem -CAfile ROOT.pem\n"
            );
        }
        let at = if path.is_empty() && tsa_path.is_empty() { "/" } else { tsa_path };
        let _ = writeln!(
            page,
            "At {path}{at} is a time-stamping authority (RFC 3161). It answers POST with application/timestamp-query, and GET of {path}{tsa_path}/chain.pem with its certificates."
        );
    }
    for file in files {
        let what = if file.ends_with(".crl") { "a CRL" } else { "a CA's certificate" };
        let _ = writeln!(page, "GET of {path}/{file} returns {what}.");
    }
    if page.is_empty() {
        return "Nothing is served here.\n".into();
    }
    if !next.is_empty() {
        page += "\nWhat to do next, with the address of this page, without a slash at its end, in place of URL:\n";
        page += &next;
    }
    page
}

const ASK: &str = "\nTo ask about a certificate, with that of the CA that has issued it:\n\n    openssl ocsp -issuer CA.pem -cert CERTIFICATE.pem -no_nonce -url URL/ -CAfile ROOT.pem\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_says_what_is_served_and_nothing_else() {
        let page = |has_issuers: bool, tsa_paths: &[&str]| {
            text("/a", has_issuers, tsa_paths.iter().copied(), std::iter::empty())
        };
        let (ocsp, stamps) = ("OCSP responder", "time-stamping authority");
        for (has_issuers, tsa_paths) in [(true, &[][..]), (false, &["/tsa"]), (true, &["/tsa", "/more"]), (false, &[])]
        {
            let page = page(has_issuers, tsa_paths);
            assert_eq!(page.contains(ocsp), has_issuers, "{page}");
            assert_eq!(page.matches(stamps).count(), tsa_paths.len(), "{page}");
            for tsa_path in tsa_paths {
                assert!(
                    page.contains(&format!("At /a{tsa_path} ")) && page.contains(&format!(" /a{tsa_path}/chain.pem "))
                );
            }
            let [asks, stamps] =
                ["    openssl ocsp ", "    openssl ts -query"].map(|command| page.matches(command).count());
            assert_eq!((asks, stamps), (usize::from(has_issuers), usize::from(!tsa_paths.is_empty())), "{page}");
            assert!(page.ends_with('\n'), "{page}");
        }
        let page = text("", true, [""].into_iter(), ["ca.crl", "ca.cer"].map(str::to_owned).into_iter());
        assert!(page.contains("At / is a time") && page.contains("GET of /chain.pem with"), "{page}");
        assert!(
            page.contains("GET of /ca.crl returns a CRL") && page.contains("GET of /ca.cer returns a CA's"),
            "{page}"
        );
    }
}
