//! Tokens as holders of keys, against SoftHSM: what each return value means, what is asked of a token and how often.
//!
//! A PKCS#11 module is initialised once in a process and reads its settings from the environment, so each test runs
//! in a process of its own (`bench`). Between the holder and SoftHSM stands the module that fails on command.
//! Who logs in when is in `login`, which key is taken in `keys`, what a fault means in `faults`, and to others in
//! `beside`, how a key is made in `generate`, what a server that was killed does in `server`, how a module is left in `end`.

mod bench;
mod beside;
mod end;
mod faults;
mod generate;
mod keys;
mod login;
mod server;
