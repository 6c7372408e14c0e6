//! Every page with hostile names in it: nothing of them becomes markup, and each page is well-formed.

use super::{
    super::{
        page::{Page, Place, Reader, Trouble},
        ring::Curve,
        view::{
            Alarm, AnsweredOtherwise, ClockRow, Figure, IssuerName, KeptAnswer, Level, Overview, Record, Rows, Server,
            Servers, SignerRow, SourceRow,
        },
    },
    *,
};
use crate::pki::UnixTime;

/// What somebody would have in a name who wants a page to run something.
const HOSTILE: &str = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>&amp;\u{202e}";

fn reader() -> Reader {
    Reader { name: HOSTILE.into(), form: "f".repeat(64), places: Place::ALL.to_vec() }
}

fn issuer() -> IssuerName {
    IssuerName { id: "0f".repeat(32), tenant: HOSTILE.into(), name: HOSTILE.into() }
}

fn record(status: &str, reason: Option<&str>) -> Record {
    Record {
        issuer: issuer(),
        serial: "0A1B".into(),
        status: status.into(),
        reason: reason.map(Into::into),
        revoked_since: reason.map(|_| HOSTILE.into()),
        ca_revoked_since: None,
        own_status: None,
        own_reason: None,
        own_revoked_since: None,
        not_after: Some(HOSTILE.into()),
        origin: HOSTILE.into(),
        answered: Some("try_later".into()),
        answered_why: Some(HOSTILE.into()),
        answers: reason.map(|_| vec![kept(true), kept(false)]),
    }
}

fn kept(is_served: bool) -> KeptAnswer {
    KeptAnswer {
        hashes: vec!["sha1".into(), HOSTILE.into()],
        signer_serial: is_served.then(|| HOSTILE.into()),
        status: is_served.then(|| HOSTILE.into()),
        this_update: HOSTILE.into(),
        next_update: HOSTILE.into(),
        is_served,
    }
}

fn view() -> Overview {
    let (tenant, issuer) = (HOSTILE.to_owned(), HOSTILE.to_owned());
    let source = |complaints: &[&str]| SourceRow {
        tenant: tenant.clone(),
        issuer: issuer.clone(),
        good: 1_234_567,
        revoked: 8,
        verified: "now".into(),
        complaints: complaints.iter().map(|text| (*text).into()).collect(),
    };
    let now = UnixTime(1_800_000_000);
    let signer = |days: i64, fault: Option<&str>, has_key| SignerRow {
        tenant: tenant.clone(),
        signs_for: issuer.clone(),
        certificate: HOSTILE.into(),
        ends: UnixTime(now.0.saturating_add_signed(86_400 * days)),
        fault: fault.map(Into::into),
        has_key,
    };
    Overview {
        program: "ostia-precompute".into(),
        server: HOSTILE.into(),
        now,
        ready: Some(false),
        alarms: Rows {
            shown: [Level::Bad, Level::Warning, Level::Note]
                .map(|level| Alarm { level, text: HOSTILE.into() })
                .to_vec(),
            left_out: 3,
        },
        figures: vec![Figure { title: HOSTILE.into(), value: "1.5k".into(), unit: "/s".into() }],
        sources: Rows { shown: vec![source(&[]), source(&[HOSTILE])], left_out: 0 },
        signers: Rows {
            shown: vec![signer(300, None, true), signer(3, None, false), signer(-1, Some(HOSTILE), true)],
            left_out: 1,
        },
    }
}

fn servers() -> Servers {
    let server = |state: &str, freshness: Option<&str>| Server {
        id: HOSTILE.into(),
        name: HOSTILE.into(),
        role: HOSTILE.into(),
        state: state.into(),
        version: HOSTILE.into(),
        silent_seconds: 7,
        position: Some(HOSTILE.into()),
        freshness: freshness.map(Into::into),
        complaints: vec![HOSTILE.into()],
    };
    Servers {
        servers: vec![server("live", Some("fresh")), server("silent", None), server(HOSTILE, Some(HOSTILE))],
        replicas_live: 1,
        replicas_wanted: 2,
        problem: Some(HOSTILE.into()),
    }
}

fn curve() -> Curve {
    Curve { span: RANGES[0].1, points: vec![Some(1.0), None, Some(3.0), Some(4.0)] }
}

/// Every page there is, in each of its forms.
fn pages() -> Vec<(String, String)> {
    let (reader, issuer) = (reader(), issuer());
    let mut pages = Vec::new();
    let mut add = |name: String, page: maud::Markup| pages.push((name, page.into_string()));
    let all = SignIn { trouble: Some(HOSTILE), by_certificate: Some(HOSTILE), next: HOSTILE };
    add("sign-in".into(), sign_in(all));
    add("overview".into(), overview(&reader, &view(), Some(&servers())));
    let nothing = || Rows { shown: Vec::new(), left_out: 0 };
    let empty = Overview {
        ready: None,
        alarms: Rows { shown: Vec::new(), left_out: 0 },
        figures: Vec::new(),
        sources: Rows { shown: Vec::new(), left_out: 0 },
        signers: nothing(),
        ..view()
    };
    add("empty overview".into(), overview(&reader, &empty, None));
    add("look-up".into(), look_up(&reader, Some(HOSTILE)));
    let records = [record("good", None), record("revoked", Some("certificateHold")), record("revoked", Some(HOSTILE))];
    let otherwise =
        AnsweredOtherwise { issuer: issuer.clone(), answered: HOSTILE.into(), answered_why: Some(HOSTILE.into()) };
    for records in [&records[..], &[]] {
        let found = Found {
            serial: "0A1B",
            records,
            otherwise: std::slice::from_ref(&otherwise),
            issuers: std::slice::from_ref(&issuer),
            hint: true,
        };
        add(format!("results {}", records.len()), results(&reader, &found));
    }
    let mut with_its_ca = record("revoked", Some("cACompromise"));
    with_its_ca.ca_revoked_since = Some(HOSTILE.into());
    with_its_ca.own_status = Some("good".into());
    let listed = records.into_iter().chain([with_its_ca]).map(|record| Known::Listed(Box::new(record)));
    let unlisted = [Known::Unlisted(None), Known::Unlisted(Some(otherwise))];
    let asked = Asked { reason: HOSTILE.into(), time: HOSTILE.into(), not_after: HOSTILE.into(), even_unlisted: true };
    for (place, known) in listed.chain(unlisted).enumerate() {
        for done in [None, Some(HOSTILE)] {
            let page = CertificatePage { issuer: &issuer, serial: "0A1B", known: &known, deeds: &Deed::ALL, done };
            add(format!("certificate {place}"), page.page(&reader));
        }
        for deed in Deed::ALL {
            let page = DeedPage { deed, issuer: &issuer, serial: "0A1B", known: &known, asked: &asked };
            add(format!("{deed:?} {place}"), page.ask(&reader, Some(HOSTILE)));
            add(format!("confirm {deed:?} {place}"), Confirmation { page, key: "k" }.page(&reader));
        }
    }
    let curves = [(HOSTILE.to_owned(), "/s".to_owned(), curve())];
    add("charts".into(), ChartsPage { range: "10m", time: "now", curves: &curves }.page(&reader));
    let clock = |problem: Option<&str>| ClockRow {
        tenant: HOSTILE.into(),
        tsa: HOSTILE.into(),
        problem: problem.map(Into::into),
        source: HOSTILE.into(),
        facts: vec![(HOSTILE.into(), HOSTILE.into())],
        outcomes: vec![("granted".into(), 12_345)],
    };
    add("clocks".into(), clocks(&reader, "now", &[clock(None), clock(Some(HOSTILE))]));
    let line = JournalLine {
        number: "7".into(),
        time: "now".into(),
        what: HOSTILE.into(),
        members: vec![(HOSTILE.into(), HOSTILE.into())],
    };
    let filter = Filter { what: HOSTILE.into(), tenant: HOSTILE.into(), serial: HOSTILE.into() };
    for (in_order, lines) in [(true, std::slice::from_ref(&line)), (false, &[])] {
        let trouble = (!in_order).then_some(HOSTILE);
        let verified = Some((in_order, HOSTILE));
        let page = AuditPage { filter: &filter, verified, lines, older: Some("before=7&type=a%3C"), trouble };
        add(format!("audit {in_order}"), page.page(&reader));
    }
    let trouble = Trouble { title: HOSTILE, detail: HOSTILE, way_on: Some(("/console/", HOSTILE)) };
    add("trouble".into(), trouble.page(None));
    let refresh = Page { title: HOSTILE, reader: Some(&reader), here: None, refresh: None };
    add("bare".into(), refresh.with(maud::html! {}));
    pages
}

#[test]
fn whatever_a_name_has_in_it_no_page_runs_it() {
    for (name, page) in pages() {
        assert!(!page.contains("<img") && !page.contains("<script>"), "{name}: {page}");
        // The one script there is has a file.
        assert_eq!(page.matches("<script").count(), 1, "{name}");
        assert!(page.contains("&lt;script&gt;alert(1)"), "{name} shows the name as it is");
        for inline in ["style=\"", " onclick", "javascript:", "<style"] {
            assert!(!page.contains(inline), "{name} has {inline}");
        }
    }
}

#[test]
fn every_page_is_well_formed_and_each_field_has_a_label() {
    let pages = pages();
    assert!(pages.len() > 60, "{}", pages.len());
    for (name, page) in &pages {
        let tags = tags(page).unwrap_or_else(|fault| panic!("{name}: {fault}\n{page}"));
        let mut ids: Vec<_> = tags.iter().filter_map(|tag| attribute(tag, "id")).collect();
        let all = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), all, "{name}: an id is there twice");
        for field in tags.iter().filter(|tag| ["input", "textarea", "select"].contains(&word(tag))) {
            let kind = attribute(field, "type").unwrap_or("text");
            // A choice stands within its label.
            let labelled = ["hidden", "radio", "checkbox"].contains(&kind)
                || attribute(field, "id").is_some_and(|id| page.contains(&format!("<label for=\"{id}\">")));
            assert!(labelled, "{name}: {field} has no label");
        }
        for form in tags.iter().filter(|tag| word(tag) == "form" && attribute(tag, "method") == Some("post")) {
            let action = attribute(form, "action").unwrap();
            assert!(action.starts_with("/console/"), "{name}: {form}");
            let behind = page.split_once(&format!("action=\"{action}\"")).unwrap().1.split("</form>").next().unwrap();
            let has_field = behind.contains(&format!("name=\"form\" value=\"{}\"", "f".repeat(64)));
            assert!(
                has_field || action.starts_with("/console/sign-in"),
                "{name}: {action} has no secret of its session"
            );
        }
    }
}

#[test]
fn what_is_offered_follows_from_the_status() {
    let offered = |record: Option<&Record>| {
        let deeds = Deed::ALL.into_iter().filter(|deed| deed.is_offered(record)).map(Deed::name);
        deeds.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(offered(None), "add revoke");
    assert_eq!(offered(Some(&record("good", None))), "revoke hold");
    assert_eq!(offered(Some(&record("revoked", Some("certificateHold")))), "revoke release");
    assert_eq!(offered(Some(&record("revoked", Some("keyCompromise")))), "");
}

#[test]
fn the_confirmation_says_what_is_for_good_and_what_is_likely_a_mistake() {
    let (reader, issuer) = (reader(), issuer());
    let page = |deed, record: Option<Record>, even_unlisted| {
        let known = record.map_or(Known::Unlisted(None), |record| Known::Listed(Box::new(record)));
        let asked = Asked { reason: "keyCompromise".into(), even_unlisted, ..Asked::default() };
        let page = DeedPage { deed, issuer: &issuer, serial: "0A1B", known: &known, asked: &asked };
        Confirmation { page, key: "the key" }.page(&reader).into_string()
    };
    let good = || Some(record("good", None));
    let held = || Some(record("revoked", Some("certificateHold")));
    for (page, words, not) in [
        (page(Deed::Revoke, good(), false), &["It is for good", "revoked (keyCompromise)"][..], "lists it"),
        (page(Deed::Revoke, held(), false), &["the hold becomes a revocation"], "will be refused"),
        (page(Deed::Revoke, None, false), &["it will be refused"], "see whether"),
        (
            page(Deed::Revoke, None, true),
            &["see whether the serial number and the issuer are right"],
            "will be refused",
        ),
        (page(Deed::Hold, good(), false), &["revoked (certificateHold)", "released again"], "for good. No"),
        (page(Deed::Release, held(), false), &["The hold ends"], "It is for good"),
        (page(Deed::Add, None, false), &["Nobody checks whether the CA has issued it"], "It is for good"),
        (page(Deed::Revoke, Some(record("revoked", Some("superseded"))), false), &["revoked already"], "the hold"),
    ] {
        for words in words.iter().chain(&["name=\"key\" value=\"the key\""]) {
            assert!(page.contains(words), "no {words}: {page}");
        }
        assert!(!page.contains(not), "{not}: {page}");
    }
}

/// The tags of a page, or what is not well-formed about it: what is opened has to be closed, in order.
fn tags(page: &str) -> Result<Vec<&str>, String> {
    const WITHOUT_END: [&str; 4] = ["input", "link", "meta", "!DOCTYPE"];
    let (mut tags, mut open) = (Vec::new(), Vec::new());
    for part in page.split('<').skip(1) {
        let (tag, text) = part.split_once('>').ok_or_else(|| format!("<{part} does not end"))?;
        if text.contains('>') {
            return Err(format!("a > stands in the text {text:?}"));
        }
        match tag.strip_prefix('/') {
            Some(name) if open.last() == Some(&name) => drop(open.pop()),
            Some(name) => return Err(format!("</{name}> ends {:?}", open.last())),
            None => {
                if !WITHOUT_END.contains(&word(tag)) {
                    open.push(word(tag));
                }
                tags.push(tag);
            }
        }
    }
    if open.is_empty() { Ok(tags) } else { Err(format!("{open:?} do not end")) }
}

fn word(tag: &str) -> &str {
    tag.split_ascii_whitespace().next().unwrap_or_default()
}

fn attribute<'t>(tag: &'t str, name: &str) -> Option<&'t str> {
    tag.split_once(&format!(" {name}=\""))?.1.split('"').next()
}
