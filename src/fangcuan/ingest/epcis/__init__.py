"""GS1 EPCIS 1.2 and 2.0 documents, JSON and XML, as rows of `trace_events`. Pure parsing: no sources, no lake."""
