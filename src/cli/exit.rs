//! The exit codes, part of the program's interface: scripts and units rely on them.

use std::process::ExitCode;

/// How the process ends. Numbers from 64 on are those of `sysexits.h`, which no shell and no signal uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// All went well: the server was stopped, the configuration is good.
    Ok = 0,
    /// The server runs, but not as it should, or did not do what it was told.
    Degraded = 1,
    /// The server is not running; what init scripts say with this number, too.
    NotRunning = 3,
    /// `EX_USAGE`: the command line makes no sense. Starting again cannot help.
    Usage = 64,
    /// `EX_SOFTWARE`: a mistake of this program.
    Internal = 70,
    /// `EX_OSERR`: the system refused something, such as an address, a process or a descriptor; or no worker starts.
    /// Starting again may help.
    Os = 71,
    /// `EX_CONFIG`: the configuration is missing or wrong. Starting again cannot help.
    Config = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codes_are_those_of_sysexits() {
        let codes = [
            Exit::Ok,
            Exit::Degraded,
            Exit::NotRunning,
            Exit::Usage,
            Exit::Internal,
            Exit::Os,
            Exit::Config,
        ];
        assert_eq!(codes.map(|exit| exit as u8), [0, 1, 3, 64, 70, 71, 78]);
    }
}
