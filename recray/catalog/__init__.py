"""What is on offer: tables as arrays, licences by region, content vectors, and the index that typed words are looked up in."""
