use proptest::{option, prelude::*};

use super::*;

fn read(text: &str) -> Uri {
    Uri::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn a_uri_names_token_key_module_and_pin() {
    let uri = read(
        "pkcs11:token=Keys%20of%20%C3%96;manufacturer=Snake%20Oil;serial=01ab;model=1.0;slot-id=17;slot-description=Left;slot-manufacturer=Snake;library-manufacturer=Oil%20Inc.;library-description=Soft;library-version=2.6;object=ocsp;id=%01%ff;type=private?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:/run/pin",
    );
    let expected = Uri {
        token: TokenWanted {
            label: Some("Keys of Ö".into()),
            manufacturer: Some("Snake Oil".into()),
            serial: Some("01ab".into()),
            model: Some("1.0".into()),
            slot: SlotWanted { id: Some(17), description: Some("Left".into()), manufacturer: Some("Snake".into()) },
            library: LibraryWanted {
                manufacturer: Some("Oil Inc.".into()),
                description: Some("Soft".into()),
                version: Some((2, 6)),
            },
        },
        key: KeyWanted { label: Some("ocsp".into()), id: Some(vec![1, 255]) },
        module: Some(ModuleWanted::Path("/usr/lib/softhsm/libsofthsm2.so".into())),
        pin_source: Some("file:/run/pin".into()),
    };
    assert_eq!(uri, expected);
}

#[test]
fn forms_that_rfc_7512_allows_are_read() {
    assert_eq!(read("pkcs11:"), Uri::default());
    assert_eq!(read("PKCS11:token=a"), read("pkcs11:token=a"));
    assert_eq!(read("pkcs11:object=a;token=b"), read("pkcs11:token=b;object=a"));
    // An attribute's value may be empty, and may itself hold `=`.
    assert_eq!(read("pkcs11:token=").token.label.as_deref(), Some(""));
    assert_eq!(read("pkcs11:object=a=b").key.label.as_deref(), Some("a=b"));
    assert_eq!(read("pkcs11:id=abc").key.id.as_deref(), Some(&b"abc"[..]));
    assert_eq!(read("pkcs11:?module-name=softhsm2").module, Some(ModuleWanted::Name("softhsm2".into())));
    assert_eq!(read("pkcs11:library-version=3").token.library.version, Some((3, 0)));
    // Section 3 has such an attribute of a vendor; behind the `?` it names no key.
    assert_eq!(read("pkcs11:token=a?vendor-bbb=value-b&x-c=d"), read("pkcs11:token=a"));
    assert_eq!(read("pkcs11:token=a?pin-source=ocsp.pin").pin_source.as_deref(), Some("ocsp.pin"));
}

#[test]
fn what_is_not_understood_is_refused_by_name() {
    for (text, problem) in [
        ("file:/key", "does not begin with `pkcs11:`"),
        ("pkcs11:token", "has no `=` in attribute 1, where a name and a value are expected"),
        ("pkcs11:token=a?module-name=b&c", "has no `=` in attribute 3"),
        ("pkcs11:token=a;token=b", "names `token` twice"),
        ("pkcs11:colour=red", "the attribute `colour`, which is not known here; known are: token, manufacturer"),
        ("pkcs11:vendor-aaa=value-a", "the attribute `vendor-aaa`, which is not known here"),
        ("pkcs11:library-version=a", "has library-version `a`; it is a number, or two with a dot"),
        ("pkcs11:library-version=2.256", "has library-version `2.256`"),
        ("pkcs11:library-version=", "has library-version ``"),
        ("pkcs11:?library-version=2", "has `library-version` after the `?`; write it before"),
        ("pkcs11:?pin-sorce=a", "the attribute `pin-sorce`, which is not known here"),
        ("pkcs11:?module-pfad=a", "the attribute `module-pfad`, which is not known here"),
        (
            "pkcs11:token=a?colour=red",
            "`colour`, which is not known here; known are: module-path, module-name, pin-source",
        ),
        ("pkcs11:token=a?pin-value=1234", "a PIN must not be in the configuration; write it into a file"),
        ("pkcs11:token=a;pin-value=1234", "has `pin-value` among the attributes of the key"),
        ("pkcs11:token=a;pin-source=b", "write it after a `?`"),
        ("pkcs11:?token=a", "has `token` after the `?`"),
        ("pkcs11:type=public", "has type `public`; signing takes a private key"),
        ("pkcs11:type=cert", "write type=private"),
        ("pkcs11:slot-id=0x1", "has slot-id `0x1`, which is no number of a slot"),
        ("pkcs11:slot-id=", "has slot-id ``"),
        ("pkcs11:slot-id=99999999999999999999", "which is no number"),
        ("pkcs11:token=a b", "a byte that has to be written as %20"),
        ("pkcs11:token=a/b", "written as %2F"),
        ("pkcs11:token=%4", "has a `%` in token without two hexadecimal digits"),
        ("pkcs11:token=%+1", "without two hexadecimal digits"),
        ("pkcs11:token=%ff", "has a token that is not UTF-8"),
        ("pkcs11:?module-path=/a&module-name=b", "has both module-path and module-name"),
        ("pkcs11:?module-path=", "has an empty module-path"),
        ("pkcs11:?module-name=../b", "it is a name alone"),
    ] {
        let error = Uri::parse(text).expect_err(text).to_string();
        assert!(error.contains(problem), "{text}: {error}");
    }
}

#[test]
fn a_refused_pin_is_not_repeated() {
    for text in [
        "pkcs11:?pin-value=s3cret",
        "pkcs11:pin-value=s3cret",
        "pkcs11:?PIN-VALUE=s3cret",
        "pkcs11:?pin-value =s3cret",
        "pkcs11:?pin-value:s3cret",
        "pkcs11:?pin-source=/pin&s3cret",
        "pkcs11:?pin-value=#s3cret",
        "pkcs11:token=a;pin-value=s3cret;more#",
        "pkcs11:token=a?pin-value=%s3cret",
    ] {
        let told = Uri::parse(text).unwrap_err().to_string();
        assert!(!told.contains("s3cret") && !told.contains("%23"), "{told}");
    }
}

fn uris() -> impl Strategy<Value = Uri> {
    let word = || option::of("\\PC{0,12}");
    let module =
        option::of(prop_oneof!["\\PC{1,12}".prop_map(ModuleWanted::Path), "[^/]{1,12}".prop_map(ModuleWanted::Name),]);
    let slot = (option::of(any::<u64>()), word(), word()).prop_map(|(id, description, manufacturer)| SlotWanted {
        id,
        description,
        manufacturer,
    });
    let library = (word(), word(), option::of(any::<(u8, u8)>()))
        .prop_map(|(manufacturer, description, version)| LibraryWanted { manufacturer, description, version });
    let token = (word(), word(), word(), word(), slot, library).prop_map(
        |(label, manufacturer, serial, model, slot, library)| TokenWanted {
            label,
            manufacturer,
            serial,
            model,
            slot,
            library,
        },
    );
    let key = (word(), option::of(prop::collection::vec(any::<u8>(), 0..8)));
    (token, key, module, word()).prop_map(|(token, (label, id), module, pin_source)| Uri {
        token,
        key: KeyWanted { label, id },
        module,
        pin_source,
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read_as_the_same(uri in uris()) {
        prop_assert_eq!(Uri::parse(&uri.to_string()), Ok(uri));
    }

    #[test]
    fn no_text_makes_it_panic(text in "\\PC*", tail in "[;=?&%a-z0-9]*") {
        let _ = Uri::parse(&text);
        let _ = Uri::is_meant(&text);
        if let Ok(uri) = Uri::parse(&format!("pkcs11:{tail}")) {
            prop_assert_eq!(Uri::parse(&uri.to_string()), Ok(uri));
        }
    }
}
