// llama.cpp's C API.
#pragma once
#include <llama.h>
