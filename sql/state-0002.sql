-- State schema 2: the absent clients of one uid, oldest first, to give their rows to new ones.
CREATE INDEX client_gone ON client (uid, seen_ms) WHERE connected = 0;
