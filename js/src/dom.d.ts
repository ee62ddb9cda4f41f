/** Browser APIs that TypeScript's own types lack. */

interface DataTransferItem {
  getAsFileSystemHandle?(): Promise<FileSystemHandle | null>;
}

interface FilePermission {
  mode?: "read" | "readwrite";
}

interface FileSystemHandle {
  queryPermission?(wanted?: FilePermission): Promise<PermissionState>;
  requestPermission?(wanted?: FilePermission): Promise<PermissionState>;
  remove?(): Promise<void>;
}

interface Window {
  showSaveFilePicker?(options?: { suggestedName?: string }): Promise<FileSystemFileHandle>;
  showDirectoryPicker?(options?: {
    id?: string;
    mode?: "read" | "readwrite";
  }): Promise<FileSystemDirectoryHandle>;
}

declare module "inline:*" {
  const source: string;
  export default source;
}
