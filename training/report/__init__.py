"""The benchmark's report: tables beside the paper's, figures, findings, one HTML page."""
