# Puts every file of a folder but its README.md into the program, so that the binary is all that a machine needs:
#   inkling_embed(NAME FOLDER)   ->   library inkling_embedded_NAME with   std::span<const EmbeddedFile> inkling::embedded_NAME()   (base/embedded.h)
# The bytes are taken in by the assembler (.incbin); a changed file rebuilds the one generated source.
function(inkling_embed name folder)
  file(GLOB_RECURSE files CONFIGURE_DEPENDS RELATIVE ${CMAKE_SOURCE_DIR}/${folder} ${CMAKE_SOURCE_DIR}/${folder}/*)
  list(FILTER files EXCLUDE REGEX "README\\.md$")
  list(SORT files)
  set(blocks "")
  set(symbols "")
  set(rows "")
  set(paths "")
  set(i 0)
  foreach(file ${files})
    set(path ${CMAKE_SOURCE_DIR}/${folder}/${file})
    list(APPEND paths ${path})
    string(APPEND blocks
      "__asm__(\".section .rodata\\n.global inkling_${name}_${i}\\n.balign 16\\ninkling_${name}_${i}:\\n"
      ".incbin \\\"${path}\\\"\\n.global inkling_${name}_${i}_end\\ninkling_${name}_${i}_end:\\n.byte 0\\n.previous\\n\");\n")
    string(APPEND symbols "extern const char inkling_${name}_${i}[], inkling_${name}_${i}_end[];\n")
    string(APPEND rows "    {\"${file}\", {inkling_${name}_${i}, static_cast<size_t>(inkling_${name}_${i}_end - inkling_${name}_${i})}},\n")
    math(EXPR i "${i} + 1")
  endforeach()
  set(source ${CMAKE_BINARY_DIR}/embedded_${name}.cc)
  file(GENERATE OUTPUT ${source} CONTENT "// Made by cmake/embed.cmake from ${folder}/.
#include <vector>

#include \"base/embedded.h\"
${blocks}extern \"C\" {
${symbols}}
namespace inkling {
std::span<const EmbeddedFile> embedded_${name}() {
  static const std::vector<EmbeddedFile> files = {
${rows}  };
  return files;
}
}  // namespace inkling
")
  set_source_files_properties(${source} PROPERTIES GENERATED TRUE OBJECT_DEPENDS "${paths}")
  add_library(inkling_embedded_${name} STATIC ${source})
  target_link_libraries(inkling_embedded_${name} PUBLIC inkling_base)
endfunction()
