//! The end of a library's use, beside other users of it in the same process.

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use ostia_tests::until;
use precompute::sign::pkcs11;

use crate::bench::{Bench, alone};

const LIMIT: std::time::Duration = std::time::Duration::from_secs(20);

#[test]
fn what_another_part_of_the_process_has_initialised_is_left_to_it() {
    alone(|bench| {
        let other = Pkcs11::new(Bench::shim()).unwrap();
        other.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).unwrap();
        let session = bench.beside("a");
        let holder = bench.holder("a");
        drop(bench.opens(&holder));
        drop(holder);
        until("the login is left", LIMIT, || {
            let all = |name: &str| bench.calls(&format!("{name} token=a CKR_OK"));
            (all("C_OpenSession") == all("C_CloseSession") + 1).then_some(())
        });
        pkcs11::end();
        assert_eq!(bench.calls("C_Finalize"), 0);
        session.get_session_info().unwrap();
    });
}
