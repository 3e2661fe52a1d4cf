//! The Engine.IO engine of my-app.

#[doc(hidden)]
pub mod guard;
#[doc(hidden)]
pub mod packet;
#[doc(hidden)]
pub mod payload3;
#[doc(hidden)]
pub mod payload4;
