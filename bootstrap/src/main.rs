//! `node-bootstrap`: from user data to a running node-agent. See the library for the steps.

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    static_glibc::look_up_hosts_in_files_and_dns();
    let arguments = bootstrap::cli::Arguments::parse();
    let environment = node::environment::Environment::of_this_process();
    ExitCode::from(bootstrap::main(arguments, environment))
}

/// glibc linked statically still loads the host's name service modules for getaddrinfo, and those of another version
/// crash it. Only where musl cannot be had; with it, and with a dynamic glibc, there is nothing to do.
mod static_glibc {
    #[cfg(all(target_env = "gnu", target_feature = "crt-static"))]
    pub(super) fn look_up_hosts_in_files_and_dns() {
        use std::ffi::{CStr, c_char, c_int};
        unsafe extern "C" {
            fn __nss_configure_lookup(database: *const c_char, services: *const c_char) -> c_int;
        }
        const DATABASE: &CStr = c"hosts";
        const SERVICES: &CStr = c"files dns";
        // SAFETY: both are strings that end in NUL and live for ever, and no other thread runs yet.
        let refused = unsafe { __nss_configure_lookup(DATABASE.as_ptr(), SERVICES.as_ptr()) };
        // A refusal leaves the host's own order, which works on most hosts.
        let _ = refused;
    }

    #[cfg(not(all(target_env = "gnu", target_feature = "crt-static")))]
    pub(super) fn look_up_hosts_in_files_and_dns() {}
}
