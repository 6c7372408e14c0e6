//! Checks that a file can be loaded as a library, before the loader tries.
//!
//! For a library of another architecture the loader says that the file does not exist; for a truncated one it ends the
//! process with SIGBUS. Only the head of an ELF file is read; the loader finds out whether it is a PKCS#11 module.
//! Pure.

/// How many bytes of a file are examined: the ELF header and the program headers.
pub(super) const HEAD_BYTES: usize = 4096;

/// Why a file with this head and length cannot be loaded; the text completes "cannot be loaded: …".
pub(super) fn problem(head: &[u8], length: u64) -> Option<String> {
    let number = |at: usize, bytes: usize| {
        let bytes = head.get(at..at + bytes)?;
        Some(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    };
    if !head.starts_with(b"\x7fELF") {
        let is_script = head.starts_with(b"/* GNU ld script") || head.windows(6).any(|window| window == b"INPUT(");
        let what = if is_script { "a script of the linker; name the library that it speaks of" } else { "no library" };
        return Some(format!("the file is {what} (invalid ELF header)"));
    }
    let (class, machine) = (head.get(4).copied(), number(18, 2));
    let own_class = if cfg!(target_pointer_width = "64") { 2 } else { 1 };
    if class.is_some_and(|class| class != own_class) {
        let bits = if class == Some(1) { 32 } else { 64 };
        return Some(format!(
            "it is for programs of {bits} bits, and this one is another; install the one for {OWN_NAME}"
        ));
    }
    if machine.is_some_and(|machine| OWN_MACHINE.is_some_and(|own| own != machine)) {
        let known = MACHINES.iter().find(|(number, _)| Some(*number) == machine);
        let name = known.map_or("another machine", |(_, name)| name);
        return Some(format!("it is for {name}; install the one for {OWN_NAME}"));
    }
    if class != Some(2) {
        return None;
    }
    // The segments of 64-bit ELF: each has to lie within the file.
    let (table, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
    let ends = (0..count).filter_map(|segment| {
        let at = usize::try_from(table.checked_add(segment * size)?).ok()?;
        const LOAD: u64 = 1;
        (number(at, 4)? == LOAD).then_some(number(at.checked_add(8)?, 8)?.checked_add(number(at.checked_add(32)?, 8)?)?)
    });
    (ends.max()? > length).then(|| "the file is cut off; install it again".into())
}

/// e_machine of ELF, and its common name.
const MACHINES: [(u64, &str); 8] = [
    (3, "x86"),
    (20, "powerpc"),
    (21, "powerpc64"),
    (22, "s390x"),
    (40, "arm"),
    (62, "x86_64"),
    (183, "aarch64"),
    (243, "riscv"),
];
const OWN_NAME: &str = std::env::consts::ARCH;
const OWN_MACHINE: Option<u64> = if cfg!(target_arch = "x86_64") {
    Some(62)
} else if cfg!(target_arch = "aarch64") {
    Some(183)
} else {
    None
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_is_loaded_and_what_is_none_is_told() {
        // The running program serves as one.
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let length = own.len() as u64;
        let head = &own[..HEAD_BYTES];
        assert_eq!(problem(head, length), None);
        let with = |at: usize, byte: u8| {
            let mut head = head.to_vec();
            head[at] = byte;
            problem(&head, length).unwrap_or_default()
        };
        let other = if OWN_MACHINE == Some(183) { (62, "x86_64") } else { (183, "aarch64") };
        assert_eq!(with(18, other.0), format!("it is for {}; install the one for {OWN_NAME}", other.1));
        assert!(with(4, 1).contains("it is for programs of 32 bits"));
        assert!(problem(head, HEAD_BYTES as u64).unwrap().contains("is cut off"));
        assert_eq!(problem(b"no library", 10).unwrap(), "the file is no library (invalid ELF header)");
        assert!(problem(b"/* GNU ld script\nINPUT(libx.so.1)", 33).unwrap().contains("a script of the linker"));
        for cut in 0..HEAD_BYTES {
            let _ = problem(&head[..cut], length);
        }
    }
}
