//! Exit codes of all programs. The numbers are part of the contract: units and scripts depend on them.

/// Everything asked for was done.
pub const DONE: u8 = 0;
/// It was tried and failed; for `agentctl status`, the node is not ready.
pub const FAILED: u8 = 1;
/// Wrong usage on the command line.
pub const USAGE: u8 = 2;
/// `agentctl`: the agent cannot be reached.
pub const UNREACHABLE: u8 = 3;
/// The configuration is invalid. systemd does not restart on it (`RestartPreventExitStatus=78`, EX_CONFIG).
pub const INVALID_CONFIGURATION: u8 = 78;
