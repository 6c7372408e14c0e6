//! A hit allocates nothing: counted in the whole process while the service runs in it.
//!
//! One test in a process of its own, because every thread's allocations are counted. What runs beside the serving
//! threads (looks at the sources) allocates now and then, far less than once in ten requests.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    sync::mpsc,
    thread,
    time::Duration,
};

use ostia_tests::{Ask, Ca, Delegate, KeyKind, Site, Tenant, http::ocsp_target};
use precompute::pki::UnixTime;
use responder::{assemble::Opener, start};

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

/// Sends `batch` and reads `length` bytes, again and again, without allocating.
struct Client {
    stream: TcpStream,
    batch: Vec<u8>,
    response: Vec<u8>,
}

impl Client {
    fn rounds(&mut self, count: usize) {
        for _ in 0..count {
            self.stream.write_all(&self.batch).unwrap();
            self.stream.read_exact(&mut self.response).unwrap();
        }
    }
}

#[test]
fn a_hit_allocates_nothing() {
    allocates_nothing("");
    // Nor if somebody else writes down what it was.
    allocates_nothing("[journal]\nocsp = true\n");
}

/// `journal`: lines of the configuration.
fn allocates_nothing(journal: &str) {
    let ca = Ca::new("Allocations CA");
    let leaf = ca.issue();
    let signer = ca.delegate(Delegate::Proper, KeyKind::P256);
    let sources = format!("index = {:?}\ncrl = {:?}\npublish = [\"crl\"]", ca.index(), ca.write_crl("ca.crl"));
    let site = Site::new(&[Tenant::new("tests").issuer("ca", &ca, &sources, &signer.lines())]);
    site.edit_config(|text| text.replacen("[http]", &format!("{journal}[http]\nworkers = 1"), 1));
    let path = site.config();
    let (ready, running) = mpsc::channel();
    thread::spawn(move || {
        let opener = Opener::new(&path);
        let (config, assembly) = opener.read(UnixTime::now()).unwrap();
        start::run(opener, config, assembly, |_| ready.send(()).unwrap()).unwrap();
    });
    running.recv_timeout(Duration::from_secs(60)).unwrap();

    let der = Ask::about(&ca, &leaf).request();
    let get = format!("GET {} HTTP/1.1\r\nHost: a\r\nUser-Agent: test/1\r\n\r\n", ocsp_target("/", &der)).into_bytes();
    let with_fields = |count: usize| {
        let fields: String = (0..count).map(|number| format!("X-Field-{number}: {number:060}\r\n")).collect();
        format!("GET {} HTTP/1.1\r\nHost: a\r\n{fields}\r\n", ocsp_target("/", &der)).into_bytes()
    };
    let mut post = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", der.len()).into_bytes();
    post.extend(&der);
    // Once for its length, and to have it signed and kept.
    let length = ostia_tests::http::exchange(site.http, &get).unwrap();
    assert_eq!(length.status, 200);

    for (what, one, pipelined) in [
        ("GET", get.clone(), 1),
        ("GET with 40 fields", with_fields(40), 1),
        ("POST", post, 1),
        ("16 pipelined GETs", get, 16),
        ("a published CRL", b"GET /ca.crl HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), 1),
    ] {
        let mut stream = TcpStream::connect(site.http).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let length = response_length(&mut stream, &one);
        let mut client = Client { stream, batch: one.repeat(pipelined), response: vec![0; length * pipelined] };
        client.rounds(200);
        let profiler = dhat::Profiler::builder().testing().build();
        let rounds = 2000;
        client.rounds(rounds);
        let blocks = dhat::HeapStats::get().total_blocks;
        drop(profiler);
        let each = blocks as f64 / (rounds * pipelined) as f64;
        assert!(each < 0.1, "{journal:?}: {what}: {each} allocations a request");
    }
}

/// Bytes of the response to `request`.
fn response_length(stream: &mut TcpStream, request: &[u8]) -> usize {
    stream.write_all(request).unwrap();
    let mut response = Vec::new();
    let mut room = [0; 8192];
    loop {
        let count = stream.read(&mut room).unwrap();
        assert!(count > 0, "the connection stays");
        response.extend_from_slice(&room[..count]);
        let Some(end) = response.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let head = String::from_utf8(response[..end].to_vec()).unwrap();
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).expect("Content-Length");
        let length = end + 4 + length.parse::<usize>().unwrap();
        if response.len() == length {
            return length;
        }
    }
}
