//! How much the operator is told.

/// Of a LOG record, and what a server or a runtime is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i32)]
pub enum Level {
    /// Something is wrong, or is kept from going wrong.
    #[default]
    Warning = 0,
    /// What happens rarely: begin and end of a server, what hubs let go.
    Info = 1,
    /// What happens to each connection, and each message that else would be
    /// counted: for finding a fault.
    Debug = 2,
}

impl Level {
    /// The level of that number.
    pub fn of(number: u32) -> Option<Self> {
        [Level::Warning, Level::Info, Level::Debug]
            .into_iter()
            .find(|level| *level as u32 == number)
    }
}
