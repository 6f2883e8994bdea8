"""Where DNS logs come from: files, read in batches that know how far they got."""
