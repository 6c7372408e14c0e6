//! Where somebody signs in.

use maud::{Markup, html};

use super::super::page::Page;

/// What the page is to say.
#[derive(Clone, Default, Debug)]
pub(in super::super) struct SignIn<'s> {
    /// What was wrong before.
    pub(in super::super) trouble: Option<&'s str>,
    /// Whose certificate the browser has shown.
    pub(in super::super) by_certificate: Option<&'s str>,
    /// Where to go then, on this console.
    pub(in super::super) next: &'s str,
}

/// The page.
pub(in super::super) fn sign_in(SignIn { trouble, by_certificate, next }: SignIn<'_>) -> Markup {
    let content = html! {
        h1 { "Sign in" }
        @if let Some(trouble) = trouble { p.trouble role="alert" { (trouble) } }
        @if let Some(name) = by_certificate {
            section {
                h2 { "By certificate" }
                p { "Your browser has shown the certificate of " strong { (name) } "." }
                form method="post" action="/console/sign-in/certificate" {
                    input type="hidden" name="next" value=(next);
                    p.buttons { button type="submit" { "Sign in as " (name) } }
                }
            }
        }
        section {
            h2 { "By token" }
            form.fields method="post" action="/console/sign-in" {
                input type="hidden" name="next" value=(next);
                div {
                    label for="token" { "Token" }
                    input #token type="password" name="token" required autocomplete="off" spellcheck="false" aria-describedby="token-hint";
                    p.hint #token-hint {
                        "The one of the file that " code { "admin.token_file" } " names, or one that "
                        code { "ostia-precompute token new" } " has printed. It is not kept in the browser."
                    }
                }
                p.buttons { button type="submit" { "Sign in" } }
            }
        }
    };
    Page { title: "Sign in", reader: None, here: None, refresh: None }.with(content)
}
