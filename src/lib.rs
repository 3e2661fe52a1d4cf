//! A production Socket.IO server with one master and one worker per core.
