"""What makes the figures, pages, records and reference material of the repository; no part of the wheel."""
