/// What `weir --version` says.
let weirVersion = "0.1.0"
