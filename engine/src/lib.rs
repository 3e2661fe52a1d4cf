//! The Engine.IO engine of my-app.
