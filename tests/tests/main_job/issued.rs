//! Lists of what a CA has issued, beside its CRL or its database.

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    time::Duration,
};

use ostia_tests::{Ask, Ca, Delegate, KeyKind, Leaf, Responder, Site, Status, Tenant, until};

const PATIENCE: Duration = Duration::from_secs(30);

/// A CA that publishes a CRL, and a list of what it has issued.
struct Place {
    ca: Ca,
    known: Leaf,
    revoked: Leaf,
}

impl Place {
    fn new() -> Self {
        let ca = Ca::new("Issued");
        let (known, revoked) = (ca.issue(), ca.issue());
        ca.revoke(&revoked, &["-crl_reason", "superseded"]);
        ca.write_crl("ca.crl");
        Self { ca, known, revoked }
    }

    fn site(&self, more: &str) -> Site {
        let signer = self.ca.delegate(Delegate::Proper, KeyKind::P256);
        let sources = format!("crl = {:?}\nissued = {:?}\n{more}", self.ca.file("ca.crl"), self.ca.file("issued.txt"));
        Site::new(&[Tenant::new("tests").issuer("ca", &self.ca, &sources, &signer.lines())])
    }

    fn write(&self, text: &str) {
        fs::write(self.ca.file("issued.txt"), text).unwrap();
    }

    fn becomes(&self, responder: &Responder, leaf: &Leaf, wanted: &Status) {
        let said = || Ask::about(&self.ca, leaf).at(responder.http(), "/").status;
        until(&format!("{} is {wanted:?}", leaf.serial), PATIENCE, || (said() == *wanted).then_some(()));
    }
}

#[test]
fn beside_a_crl_a_list_of_what_was_issued_proves_good_and_its_next_line_counts() {
    let place = Place::new();
    let (known, revoked) = (&place.known, &place.revoked);
    place.write(&format!("# issued so far\n{}\n{}\n", known.serial, revoked.serial));
    let responder = place.site("").start();
    let ask = |leaf| Ask::about(&place.ca, leaf).at(responder.http(), "/");
    ask(known).expect(Status::Good);
    ask(revoked).expect(Status::Revoked);
    let later = place.ca.issue();
    ask(&later).expect(Status::error("unauthorized"));
    let mut list = OpenOptions::new().append(true).open(place.ca.file("issued.txt")).unwrap();
    list.write_all(format!("{}\n", later.serial).as_bytes()).unwrap();
    place.becomes(&responder, &later, &Status::Good);
    // Who is no longer listed is not good any more.
    place.write(&format!("{}\n{}", revoked.serial, later.serial));
    place.becomes(&responder, known, &Status::error("unauthorized"));
    place.becomes(&responder, &later, &Status::Good);
    place.becomes(&responder, revoked, &Status::Revoked);
}

#[test]
fn a_list_with_columns_in_decimal_is_read_and_check_notices_where_nothing_says_so() {
    let place = Place::new();
    let decimal = |leaf: &Leaf| u128::from_str_radix(&leaf.serial, 16).unwrap().to_string();
    place.write(&format!("name;serialNumber;expireDate\nknown;{};2100-01-01T00:00:00Z\n", decimal(&place.known)));
    {
        let responder = place.site("issued_serials = \"decimal\"\n").start();
        Ask::about(&place.ca, &place.known).at(responder.http(), "/").expect(Status::Good);
        let invented = Leaf { serial: decimal(&place.known), ..place.known.clone() };
        Ask::serial(&place.ca, &invented.serial).at(responder.http(), "/").expect(Status::error("unauthorized"));
    }
    let long: String = (0..6).map(|number| format!("48151623420000000{number}\n")).collect();
    place.write(&long);
    let ended = place.site("").check();
    for told in ["issued.txt", "look decimal", "issued_serials = \"decimal\""] {
        assert!(ended.text.contains(told), "{told}: {}", ended.text);
    }
}

#[test]
fn a_file_that_is_no_list_is_refused_with_what_it_is_and_the_last_good_one_stays() {
    let place = Place::new();
    place.write(&format!("{}\n", place.known.serial));
    let responder = place.site("").start();
    let checked = place.site("");
    Ask::about(&place.ca, &place.known).at(responder.http(), "/").expect(Status::Good);
    let index = fs::read_to_string(place.ca.index()).unwrap();
    for (text, told) in [
        (index.as_str(), "name the file as `index`"),
        ("<html><body>404</body></html>\n", "like HTML"),
        ("-----BEGIN CERTIFICATE-----\n", "is PEM"),
    ] {
        place.write(text);
        until(told, PATIENCE, || responder.log().contains(told).then_some(()));
        let ended = checked.check();
        assert!(
            !ended.status.success() && ended.text.contains(told) && ended.text.contains("issued.txt:1"),
            "{}",
            ended.text
        );
        Ask::about(&place.ca, &place.known).at(responder.http(), "/").expect(Status::Good);
    }
}

#[test]
fn databases_of_two_cas_machines_are_one_list_and_either_revokes() {
    let place = Place::new();
    let index = fs::read_to_string(place.ca.index()).unwrap();
    let line = |leaf: &Leaf| index.lines().find(|line| line.contains(&leaf.serial)).unwrap().to_owned() + "\n";
    let (first, second) = (place.ca.file("first.txt"), place.ca.file("second.txt"));
    fs::write(&first, line(&place.known)).unwrap();
    fs::write(&second, line(&place.revoked)).unwrap();
    let signer = place.ca.delegate(Delegate::Proper, KeyKind::P256);
    let sources = format!("index = [{first:?}, {second:?}]");
    let responder = Site::new(&[Tenant::new("tests").issuer("ca", &place.ca, &sources, &signer.lines())]).start();
    place.becomes(&responder, &place.known, &Status::Good);
    place.becomes(&responder, &place.revoked, &Status::Revoked);
    place.ca.revoke(&place.known, &[]);
    let index = fs::read_to_string(place.ca.index()).unwrap();
    let revoked = index.lines().find(|line| line.contains(&place.known.serial)).unwrap();
    fs::write(place.ca.file("next.txt"), line(&place.revoked) + revoked + "\n").unwrap();
    fs::rename(place.ca.file("next.txt"), &second).unwrap();
    place.becomes(&responder, &place.known, &Status::Revoked);
}
