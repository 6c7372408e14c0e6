//! The floor: a monoio loop with the responder's ring that writes the same bytes to everybody.
//!
//! It looks for the ends of header sections and for nothing else, so that what the responder takes
//! beyond it is what OCSP costs. With a key it makes a signature for each request before it writes, and what the
//! responder takes beyond that is what time-stamping costs. One thread.
#![allow(clippy::print_stderr)]

use std::{error::Error, fs, hint::black_box, net::SocketAddr, path::PathBuf, rc::Rc};

use clap::Parser;
use monoio::{
    io::{AsyncReadRent as _, AsyncWriteRentExt as _},
    net::{TcpListener, TcpStream},
};
use precompute::sign::SoftwareKey;
use responder::net::{listen, ring};

/// Answers every HTTP request with the content of a file: status line, fields and body.
#[derive(Parser)]
struct Arguments {
    /// Where to listen.
    #[arg(long)]
    listen: SocketAddr,
    /// The whole response, as `curl -i` shows it.
    #[arg(long)]
    response: PathBuf,
    /// A private key, PEM, to sign with for each request.
    #[arg(long)]
    key: Option<PathBuf>,
}

/// About what the signed attributes of a time-stamp token take.
const MESSAGE: [u8; 140] = [7; 140];

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let response: Rc<[u8]> = fs::read(&arguments.response)?.into();
    let key = arguments.key.as_deref().map(SoftwareKey::from_file).transpose()?;
    let listener = listen::reserve("--listen", arguments.listen)?.single()?;
    let (flags, mut runtime) = ring::build()?;
    eprintln!("bare loop on {} ({flags})", arguments.listen);
    runtime.block_on(async move {
        let listener = TcpListener::from_std(listener)?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            monoio::spawn(serve(stream, Rc::clone(&response), key.clone()));
        }
    })
}

async fn serve(mut stream: TcpStream, response: Rc<[u8]>, key: Option<SoftwareKey>) -> Option<()> {
    let mut input = Vec::with_capacity(32 << 10);
    let mut output = Vec::new();
    let mut end = End::default();
    loop {
        let (result, octets) = stream.read(input).await;
        if result.ok()? == 0 {
            return None;
        }
        for &octet in &octets {
            if end.sees(octet) {
                if let Some(key) = &key {
                    black_box(key.sign(black_box(&MESSAGE)).ok()?);
                }
                output.extend_from_slice(&response);
            }
        }
        input = octets;
        let (result, octets) = stream.write_all(output).await;
        result.ok()?;
        output = octets;
        output.clear();
    }
}

/// Finds the ends of header sections.
#[derive(Default)]
struct End(u32);

impl End {
    fn sees(&mut self, octet: u8) -> bool {
        self.0 = self.0 << 8 | u32::from(octet);
        self.0 == u32::from_be_bytes(*b"\r\n\r\n")
    }
}
